import { createWriteStream, type WriteStream } from 'node:fs'
import type { AccessLog } from '../model/listener.ts'
import { compileFormat, compileJson, type Told } from './format.ts'

/** Bytes of lines that wait for a file that takes them slowly; past it lines are dropped and counted. */
const MAX_WAITING = 1 << 20
/** Milliseconds for which lines are gathered before they are written. */
const GATHER = 200

/** Writes to one path, whoever has lines for it. */
class LogFile {
  readonly path: string
  users = 0
  dropped = 0
  #lines: string[] = []
  #size = 0
  #timer: NodeJS.Timeout | undefined
  #stream: WriteStream | NodeJS.WriteStream | undefined

  constructor(path: string) {
    this.path = path
  }

  write(line: string): void {
    if (this.#size > MAX_WAITING) {
      this.dropped++
      return
    }
    this.#lines.push(line)
    this.#size += line.length
    this.#timer ??= setTimeout(() => this.#flush(), GATHER).unref()
  }

  #flush(): void {
    this.#timer = undefined
    if (this.#lines.length === 0) return
    this.#stream ??= this.#open()
    const text = this.#lines.join('')
    this.#lines = []
    const size = text.length
    this.#stream.write(text, () => {
      this.#size -= size
    })
  }

  #open(): WriteStream | NodeJS.WriteStream {
    if (this.path === '/dev/stdout') return process.stdout
    if (this.path === '/dev/stderr') return process.stderr
    // A path that cannot be written loses its lines, not the requests.
    return createWriteStream(this.path, { flags: 'a' }).on('error', () => {
      this.dropped++
    })
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#flush()
    const stream = this.#stream
    this.#stream = undefined
    if (stream && 'path' in stream) await new Promise<void>((resolve) => stream.end(() => resolve()))
  }
}

/** The files of access logs of one proxy. */
export class LogFiles implements AsyncDisposable {
  readonly #files = new Map<string, LogFile>()

  of(path: string): LogFile {
    let file = this.#files.get(path)
    if (!file) {
      file = new LogFile(path)
      this.#files.set(path, file)
    }
    return file
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.close()))
  }
}

export type LogWriter = (told: Told, healthCheck: boolean) => void

/** One access log as a function. Throws for a format that is none. */
export function accessLog({ path, format, filter }: AccessLog, files: LogFiles): LogWriter {
  const line = typeof format === 'string' ? compileFormat(format) : lines(compileJson(format))
  const file = files.of(path)
  return (told, healthCheck) => {
    if (filter) {
      const { statusFrom = 0, durationFrom = 0, percent = 100, notHealthCheck } = filter
      if (told.status < statusFrom || told.duration < durationFrom || (notHealthCheck && healthCheck)) return
      if (percent < 100 && Math.random() * 100 >= percent) return
    }
    file.write(line(told))
  }
}

function lines(json: (told: Told) => unknown): (told: Told) => string {
  return (told) => `${JSON.stringify(json(told))}\n`
}
