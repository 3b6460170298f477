import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** Identity of a process that others on the same machine can check: place (machine and process namespace), id, start. */
export interface ProcessIdentity {
  place: string
  pid: number
  /** Start time in clock ticks since boot, so that a reused id is not mistaken; empty where the system has no /proc. */
  started: string
}

/** Who we are. */
export function ownIdentity(): ProcessIdentity {
  return { place: ownPlace(), pid: process.pid, started: startOf(process.pid) ?? '' }
}

/** False when that process is certainly gone, true when it certainly lives, undefined when it cannot be known from here. */
export function isAlive(identity: ProcessIdentity): boolean | undefined {
  if (identity.place !== ownPlace()) return undefined
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    // EPERM: it lives, under another user.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  if (identity.started === '') return undefined
  const started = startOf(identity.pid)
  return started === undefined ? undefined : started === identity.started
}

let place: string | undefined
function ownPlace(): string {
  place ??= [
    hostname(),
    attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    attempt(() => readlinkSync('/proc/self/ns/pid')),
  ].join(' ')
  return place
}

/** Undefined also for a zombie: it runs nothing any more, only its parent has not looked. */
function startOf(pid: number): string | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  if (!stat) return undefined
  // The second field is the command in parentheses and may hold spaces; state is the first one after it, start the 20th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? 'ended' : fields[19]
}

function attempt(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
