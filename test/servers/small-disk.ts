import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of a few MiB in memory, that a test fills and empties. */
export interface SmallDisk extends Disposable {
  path: string
  /** Leaves not one byte. */
  fill(): void
  /** As much room as before. */
  empty(): void
}

const CHUNK = Buffer.alloc(65_536)
const mounted = new Set<string>()
process.once('exit', () => {
  for (const path of mounted) unmount(path)
})

/** Undefined where this process may not mount one. */
export function smallDisk(mebibytes: number): SmallDisk | undefined {
  const path = mkdtempSync(join(tmpdir(), 'outrider-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=1777`, 'tmpfs', path], { stdio: 'ignore' })
  } catch {
    rmSync(path, { recursive: true })
    return undefined
  }
  mounted.add(path)
  const filler = join(path, 'filler')
  return {
    path,
    fill() {
      const file = openSync(filler, 'a')
      try {
        for (const size of [CHUNK.length, 4096, 1]) while (writeSync(file, CHUNK, 0, size) > 0);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      } finally {
        closeSync(file)
      }
    },
    empty: () => rmSync(filler, { force: true }),
    [Symbol.dispose]: () => unmount(path),
  }
}

function unmount(path: string): void {
  if (!mounted.delete(path)) return
  try {
    // What still has files open there keeps it until it ends.
    execFileSync('umount', ['--lazy', path], { stdio: 'ignore' })
    rmSync(path, { recursive: true, force: true })
  } catch {}
}
