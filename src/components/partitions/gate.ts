/** Longer than the turn in which a handler puts a batch together. */
const APART = 2

/** Lets the partitions of a subscription give their batches one after the other, so that no batch is split to fill up another. */
export class Gate {
  readonly #waiting: (() => void)[] = []
  #busy = false

  enter(give: () => void): void {
    this.#waiting.push(give)
    if (!this.#busy) this.#next()
  }

  #next(): void {
    const give = this.#waiting.shift()
    this.#busy = give !== undefined
    if (give === undefined) return
    give()
    setTimeout(() => this.#next(), APART)
  }
}
