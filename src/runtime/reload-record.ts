/** What reloading did so far; it outlives a restart in place. */
export class ReloadRecord {
  readonly #counts = new Map<string, { kind: string; action: string; result: 'success' | 'failure'; count: number }>()
  /** When a pass last went through whole; undefined: there was none. */
  lastSuccess: Date | undefined
  /** When something was last refused. */
  lastFailure: Date | undefined

  count(kind: string, action: string, result: 'success' | 'failure'): void {
    const key = `${kind} ${action} ${result}`
    const counted = this.#counts.get(key)
    if (counted) counted.count++
    else this.#counts.set(key, { kind, action, result, count: 1 })
    if (result === 'success') this.lastSuccess = new Date()
    else this.lastFailure = new Date()
  }

  counts() {
    return [...this.#counts.values()]
  }
}
