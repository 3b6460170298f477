import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import { type Database, isBusy, isFull } from '../storage/sqlite.ts'
import { NoRoomError } from './no-room.ts'

/** What an operation is told when the disk is full or another process keeps the file's write lock; any other error as it is. */
export function sqliteRefusal(owner: string, path: string, error: unknown): Error {
  const file = `${owner}: SQLite file ${path}`
  if (isFull(error))
    return new NoRoomError(`${file} has no room: ${messageOf(error)} (free space on its disk; it is used again at once)`, { cause: error })
  if (isBusy(error))
    return new Error(`${file}: ${messageOf(error)}: another process keeps the write lock (end its transaction, or raise busyTimeout)`, {
      cause: error,
    })
  return error instanceof Error ? error : new Error(messageOf(error))
}

/** Longest wait for the lock: what holds it longer is no ordinary transaction. */
const PATIENCE = 1000
const STEP = 20

/** Whether a write could begin: takes the file's write lock and gives it back. Rejects when another process keeps it for a second. */
export async function checkWritable(owner: string, path: string, database: () => Database): Promise<void> {
  for (const end = performance.now() + PATIENCE; ; await pause(STEP)) {
    const open = database()
    const { timeout } = open.prepare('PRAGMA busy_timeout').get() as { timeout: number }
    try {
      open.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK')
      return
    } catch (error) {
      if (!isBusy(error) || performance.now() >= end) throw sqliteRefusal(owner, path, error)
    } finally {
      open.exec(`PRAGMA busy_timeout = ${timeout}`)
    }
  }
}
