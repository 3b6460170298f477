import { type ContainerLine, parseCri, parseDocker } from './container.ts'

export interface AssemblerOptions {
  /** Lines are what a container runtime wrote. */
  container?: 'cri' | 'docker' | undefined
  multiline?: { start?: RegExp | undefined; continue?: RegExp | undefined; maxLines: number } | undefined
  /** Characters of one event, past which it ends as it is. */
  maxLength: number
}

/** Lines that belong together. */
export interface Group {
  text: string
  /** Where its first line begins. */
  start: number
  lines: number
  /** When its last line came, as performance.now(). */
  touched: number
  stream: string | undefined
  time: string | undefined
  /** The last part was cut by the container runtime or for its length. */
  partial: boolean
  /** The container's line could not be read. */
  odd: boolean
}

/**
 * Puts lines together: what a container runtime cut, then the lines of one event. What waits for more lines has not been read as
 * far as positions are concerned: `pending` is the oldest place that is still needed.
 */
export class Assembler {
  readonly #options: AssemblerOptions
  readonly #emit: (group: Group) => void
  /** Container lines that were cut, by stream. */
  readonly #cut = new Map<string, Group>()
  /** Events that may go on, by stream. */
  readonly #open = new Map<string, Group>()
  readonly #unwrap: ((line: string) => ContainerLine | undefined) | undefined

  constructor(options: AssemblerOptions, emit: (group: Group) => void) {
    this.#options = options
    this.#emit = emit
    this.#unwrap = options.container === 'cri' ? parseCri : options.container === 'docker' ? parseDocker : undefined
  }

  /** Where what is not yet given begins; undefined: nothing waits. */
  get pending(): number | undefined {
    let least: number | undefined
    for (const groups of [this.#cut, this.#open])
      for (const { start } of groups.values()) if (least === undefined || start < least) least = start
    return least
  }

  line(text: string, start: number, partial: boolean, now: number): void {
    const found = this.#unwrap?.(text)
    const group: Group = {
      text: found?.message ?? text,
      start,
      lines: 1,
      touched: now,
      stream: found?.stream,
      time: found?.time,
      partial: partial || (found?.cut ?? false),
      odd: this.#unwrap !== undefined && !found,
    }
    const whole = found ? this.#join(group) : group
    if (whole) this.#gather(whole)
  }

  /** The parts of one line that the runtime cut; undefined: more is to come. */
  #join(part: Group): Group | undefined {
    const stream = part.stream as string
    const before = this.#cut.get(stream)
    const group = before ? { ...before, text: before.text + part.text, touched: part.touched, partial: part.partial } : part
    if (group.partial && group.text.length < this.#options.maxLength) {
      this.#cut.set(stream, group)
      return undefined
    }
    this.#cut.delete(stream)
    return group
  }

  #gather(line: Group): void {
    const { multiline, maxLength } = this.#options
    if (!multiline) return this.#emit(line)
    const key = line.stream ?? ''
    const open = this.#open.get(key)
    if (open && open.lines < multiline.maxLines && open.text.length + line.text.length < maxLength && goesOn(line.text, multiline)) {
      open.text += `\n${line.text}`
      open.lines++
      open.touched = line.touched
      return
    }
    if (open) this.#emit(open)
    this.#open.set(key, line)
  }

  /** Gives what got no further line since `before`, as it is. */
  flush(before: number): void {
    for (const [stream, group] of this.#cut) {
      if (group.touched > before) continue
      this.#cut.delete(stream)
      this.#gather(group)
    }
    for (const [stream, group] of this.#open) {
      if (group.touched > before) continue
      this.#open.delete(stream)
      this.#emit(group)
    }
  }
}

function goesOn(text: string, { start, continue: further }: { start?: RegExp | undefined; continue?: RegExp | undefined }): boolean {
  return !start?.test(text) && (further?.test(text) ?? true)
}
