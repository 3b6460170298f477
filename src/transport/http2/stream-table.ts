/** Places to begin with, and to go back to. */
const FEW = 16

/**
 * Streams by their numbers: an open-addressed table, at most half full. In place of a Map, whose table is made anew after every
 * few deletions and holds on to its successor: once the collector has aged one of them all that follow, with the calls that
 * stood in them, live until the next full collection. That was 1 to 2 KiB a call, copied at each minor one.
 */
export class StreamTable<S> {
  size = 0
  /** 0: nothing stands here; stream 0 is the connection. */
  #ids = new Uint32Array(FEW)
  #streams: (S | undefined)[] = new Array(FEW).fill(undefined)
  #mask = FEW - 1

  /** Where a number stands, or where it would. Those of one side are all odd or all even. */
  #at(id: number): number {
    const ids = this.#ids
    let at = (id >>> 1) & this.#mask
    while (ids[at] !== 0 && ids[at] !== id) at = (at + 1) & this.#mask
    return at
  }

  get(id: number): S | undefined {
    return this.#streams[this.#at(id)]
  }

  set(id: number, stream: S): void {
    let at = this.#at(id)
    if (this.#ids[at] === 0) {
      if (++this.size * 2 > this.#mask) {
        this.#resize((this.#mask + 1) * 2)
        at = this.#at(id)
      }
      this.#ids[at] = id
    }
    this.#streams[at] = stream
  }

  delete(id: number): boolean {
    let hole = this.#at(id)
    const ids = this.#ids
    if (id === 0 || ids[hole] === 0) return false
    const mask = this.#mask
    // Whoever stands behind the hole and would have stood in it or before moves up, so that nobody is looked for in vain.
    for (let at = (hole + 1) & mask; ids[at] !== 0; at = (at + 1) & mask) {
      const home = ((ids[at] as number) >>> 1) & mask
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      ids[hole] = ids[at] as number
      this.#streams[hole] = this.#streams[at]
      hole = at
    }
    ids[hole] = 0
    this.#streams[hole] = undefined
    this.size--
    if (this.size === 0 && mask >= FEW * 8) this.#resize(FEW)
    return true
  }

  /** All of them, by number. Those that go meanwhile are still told. */
  values(): S[] {
    const found: [number, S][] = []
    for (const [at, id] of this.#ids.entries()) if (id !== 0) found.push([id, this.#streams[at] as S])
    return found.sort(([one], [other]) => one - other).map(([, stream]) => stream)
  }

  #resize(places: number): void {
    const [ids, streams] = [this.#ids, this.#streams]
    this.#ids = new Uint32Array(places)
    this.#streams = new Array(places).fill(undefined)
    this.#mask = places - 1
    for (const [from, id] of ids.entries()) {
      if (id === 0) continue
      const at = this.#at(id)
      this.#ids[at] = id
      this.#streams[at] = streams[from]
    }
  }
}
