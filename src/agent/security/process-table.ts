import { readdirSync, readFileSync } from 'node:fs'
import type { Value } from './fields.ts'
import { link, type ProcessInfo, readProcess, text } from './proc-files.ts'

/** Processes that are remembered; in more none are told apart from those that were there. */
const MOST = 32_768
/** Milliseconds for which a new process is looked at in each round: it may still become another program. */
const YOUNG = 3000
/** Milliseconds between rounds in which every process is looked at. */
const ALL = 2000
/** Ancestors that are named. */
const MOST_ANCESTORS = 20

interface Known {
  info: ProcessInfo
  seen: number
}

export type OnProcess = (type: 'execve' | 'procexit', info: ProcessInfo) => void

/** What /proc shows, in rounds: what begins and ends between two of them is not seen. */
export class ProcessTable {
  readonly #proc: string
  readonly #known = new Map<number, Known>()
  readonly #users = new Map<number, string>()
  readonly #groups = new Map<number, string>()
  #last = ''
  #looked = Number.NEGATIVE_INFINITY
  #young = false
  missed = 0

  constructor(proc: string) {
    this.#proc = proc
    for (const [table, names] of [['/etc/passwd', this.#users] as const, ['/etc/group', this.#groups] as const])
      for (const row of (text(table) ?? '').split('\n').slice(0, 10_000)) {
        const [name, , number] = row.split(':')
        if (name && number) names.set(Number(number), name)
      }
  }

  get size(): number {
    return this.#known.size
  }

  get(pid: number): ProcessInfo | undefined {
    return this.#known.get(pid)?.info
  }

  /** Numbers of all processes that were seen last. */
  pids(): number[] {
    return [...this.#known.keys()]
  }

  /** One round; throws when /proc cannot be read. */
  look(now: number, onProcess: OnProcess): void {
    // The last word is the number that was given last: while it stays there is no new process.
    const last = readFileSync(`${this.#proc}/loadavg`, 'utf8').trim().split(' ').at(-1) ?? ''
    const all = now - this.#looked >= ALL
    if (last === this.#last && !this.#young && !all) return
    this.#last = last
    if (all) this.#looked = now
    const present = new Set<number>()
    this.#young = false
    for (const name of readdirSync(this.#proc)) {
      if (!/^\d+$/.test(name)) continue
      const pid = Number(name)
      present.add(pid)
      const known = this.#known.get(pid)
      if (!known) this.#begun(pid, now, onProcess)
      else if (all || now - known.seen < YOUNG) this.#again(known, now, onProcess)
    }
    for (const [pid, { info }] of this.#known) {
      if (present.has(pid)) continue
      this.#known.delete(pid)
      onProcess('procexit', info)
    }
  }

  #begun(pid: number, now: number, onProcess: OnProcess): void {
    if (this.#known.size >= MOST) return void this.missed++
    const info = readProcess(this.#proc, pid)
    if (!info) return void this.missed++
    this.#known.set(pid, { info, seen: now })
    this.#young = true
    // As long as it looks as its parent does it has only forked: what it becomes is told when it does.
    const parent = this.#known.get(info.ppid)?.info
    if (parent && sameProgram(parent, info)) return
    onProcess('execve', info)
  }

  #again(known: Known, now: number, onProcess: OnProcess): void {
    const { pid } = known.info
    if (now - known.seen < YOUNG) this.#young = true
    const exepath = link(`${this.#proc}/${pid}/exe`)
    const words = text(`${this.#proc}/${pid}/cmdline`)
    if (words === undefined) return
    const before = known.info
    if (exepath === before.exepath && words.replace(/\0$/, '') === before.words.join('\0')) return
    const info = readProcess(this.#proc, pid)
    if (!info) return
    known.info = info
    if (info.started !== before.started) known.seen = now
    // Programs may write their own command line anew; another program is another file, or another number used again.
    if (exepath !== before.exepath || info.started !== before.started || now - known.seen < YOUNG) onProcess('execve', info)
  }

  /** Nanoseconds since it began; ticks of the kernel are hundredths of a second. */
  #duration({ started }: ProcessInfo): number | undefined {
    const up = Number((text(`${this.#proc}/uptime`) ?? '').split(' ', 1)[0])
    return up > 0 ? Math.max(0, Math.round((up - started / 100) * 1e9)) : undefined
  }

  /** Falco's fields of a process. */
  fields(info: ProcessInfo): Record<string, Value> {
    const ancestors: ProcessInfo[] = []
    for (let up = this.get(info.ppid); up && ancestors.length < MOST_ANCESTORS && up.pid !== info.pid; up = this.get(up.ppid)) {
      if (ancestors.includes(up)) break
      ancestors.push(up)
    }
    const [parent] = ancestors
    const line = [info, ...ancestors]
    return {
      'proc.pid': info.pid,
      'proc.vpid': info.pid,
      'proc.ppid': info.ppid,
      'proc.sid': info.sid,
      'proc.tty': info.tty,
      'proc.name': info.name,
      'proc.pname': parent?.name,
      'proc.exe': info.words[0],
      'proc.pexe': parent?.words[0],
      'proc.exepath': info.exepath,
      'proc.pexepath': parent?.exepath,
      'proc.cmdline': commandLine(info),
      'proc.pcmdline': parent && commandLine(parent),
      'proc.args': info.words.slice(1).join(' '),
      'proc.cwd': info.cwd === undefined || info.cwd.endsWith('/') ? info.cwd : `${info.cwd}/`,
      // [0] is the process itself; without a number the ancestors count.
      'proc.aname': line.map(({ name }) => name),
      'proc.acmdline': line.map(commandLine),
      'proc.aexepath': line.map(({ exepath }) => exepath ?? ''),
      'proc.apid': line.map(({ pid }) => pid),
      'proc.aexe': line.map(({ words }) => words[0] ?? ''),
      'proc.duration': this.#duration(info),
      'proc.is_exe_from_memfd': info.exepath?.startsWith('/memfd:') ?? false,
      'user.uid': info.uid,
      'user.name': info.uid === undefined ? undefined : (this.#users.get(info.uid) ?? String(info.uid)),
      'user.loginuid': info.loginuid,
      'user.loginname': info.loginuid === undefined || info.loginuid < 0 ? undefined : this.#users.get(info.loginuid),
      'group.gid': info.gid,
      'group.name': info.gid === undefined ? undefined : this.#groups.get(info.gid),
      'container.id': info.container,
    }
  }
}

/** As Falco shows it: the name, then the arguments. */
function commandLine({ name, words }: ProcessInfo): string {
  return [name, ...words.slice(1)].join(' ')
}

function sameProgram(a: ProcessInfo, b: ProcessInfo): boolean {
  return a.exepath === b.exepath && a.words.join('\0') === b.words.join('\0')
}
