/** Ranges of partition keys whose place is remembered; the one heard of longest ago is forgotten first, and may be read behind. */
const KEPT = 128

/**
 * How far writes have come, for each range of partition keys: a read that says so sees what this client wrote.
 * Tokens are `<range>:<version>#<number>#…` (or an older `<range>:<number>`), separated by commas.
 */
export class CosmosSession {
  readonly #places = new Map<string, string>()
  #text: string | undefined

  /** What the header x-ms-session-token of reads says; undefined before the first answer. */
  get token(): string | undefined {
    if (this.#text === undefined && this.#places.size > 0)
      this.#text = [...this.#places].map(([range, place]) => `${range}:${place}`).join()
    return this.#text
  }

  /** Takes the token of an answer, unless a later one was heard. */
  learn(header: string): void {
    for (const part of header.split(',')) {
      const colon = part.indexOf(':')
      if (colon < 1) continue
      const [range, place] = [part.slice(0, colon), part.slice(colon + 1)]
      const known = this.#places.get(range)
      if (known === place || (known !== undefined && isBehind(place, known))) continue
      this.#places.delete(range)
      this.#places.set(range, place)
      this.#text = undefined
      if (this.#places.size > KEPT) for (const oldest of this.#places.keys()) return void this.#places.delete(oldest)
    }
  }
}

/** A new version, after regions have changed, stands above any number of an older one. */
function isBehind(place: string, known: string): boolean {
  const [version, number] = readPlace(place)
  const [knownVersion, knownNumber] = readPlace(known)
  return version === knownVersion ? number < knownNumber : version < knownVersion
}

function readPlace(place: string): [version: number, number: number] {
  const parts = place.split('#')
  return parts.length === 1 ? [-1, Number(parts[0])] : [Number(parts[0]), Number(parts[1])]
}
