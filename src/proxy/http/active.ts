/** What knows its place among those that are under way. */
export interface Placed {
  place: number
}

/**
 * Those that are under way, in no order. A Set would be the word for it, but every few additions it moves to a new table to which the old
 * one points: one old table that has outlived two collections then keeps all that follow, with whatever was in them, until the next full
 * collection, and each collection of the young copies it.
 */
export class Active<T extends Placed> {
  readonly #all: T[] = []

  get size(): number {
    return this.#all.length
  }

  add(one: T): void {
    one.place = this.#all.length
    this.#all.push(one)
  }

  /** One that is not among them is left alone. */
  delete(one: T): void {
    const { place } = one
    if (this.#all[place] !== one) return
    one.place = -1
    const last = this.#all.pop() as T
    if (last === one) return
    this.#all[place] = last
    last.place = place
  }

  /** As they are now, whoever leaves meanwhile. */
  snapshot(): readonly T[] {
    return [...this.#all]
  }
}
