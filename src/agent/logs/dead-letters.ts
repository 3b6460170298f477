import { appendFile, mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Refusal } from './outputs/sink.ts'

export interface DeadLetterOptions {
  folder: string
  maxBytes: number
}

/** No room for more: somebody has to look at what is there. */
export class DeadLettersFull extends Error {
  override readonly name = 'DeadLettersFull'
}

/** Events that an output refused for good, one JSON object a line, in a file a day for each output. */
export class DeadLetters {
  readonly #options: DeadLetterOptions
  #bytes: number | undefined
  count = 0

  constructor(options: DeadLetterOptions) {
    this.#options = options
  }

  get folder(): string {
    return this.#options.folder
  }

  /** Resolves when they are in the file. Rejects with DeadLettersFull, or when the disk does not take them. */
  async keep(output: string, refusals: readonly Refusal[]): Promise<void> {
    if (refusals.length === 0) return
    const { folder, maxBytes } = this.#options
    const refused = new Date().toISOString()
    let lines = ''
    for (const { event, reason } of refusals)
      lines += `{"refused":"${refused}","output":${JSON.stringify(output)},"reason":${JSON.stringify(reason.slice(0, 1000))},"time":${event.time},"tag":${JSON.stringify(event.tag)},"record":${event.json}}\n`
    const size = Buffer.byteLength(lines)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Counted anew when it is full: somebody may have made room.
    if (this.#bytes === undefined || this.#bytes + size > maxBytes) this.#bytes = await bytesIn(folder)
    if (this.#bytes + size > maxBytes)
      throw new DeadLettersFull(
        `${folder} holds ${this.#bytes} bytes of refused events, its bound is ${maxBytes}: look at them and remove the files`,
      )
    await appendFile(join(folder, `${output.replaceAll(/[^\w.-]/g, '_')}-${refused.slice(0, 10)}.jsonl`), lines, { mode: 0o600 })
    this.#bytes += size
    this.count += refusals.length
  }
}

async function bytesIn(folder: string): Promise<number> {
  let sum = 0
  for (const name of await readdir(folder)) sum += (await stat(join(folder, name)).catch(() => ({ size: 0 }))).size
  return sum
}
