import { setImmediate as turn } from 'node:timers/promises'

/** Milliseconds for which nothing else gets its turn. */
const SLICE = 5
const MOST = 65_536

/** Joins parts to pieces of some size, and lets others have their turn in between: whoever makes the parts may have much to do. */
export async function* sliced(parts: Iterable<string>): AsyncGenerator<string> {
  let piece = ''
  let began = performance.now()
  for (const part of parts) {
    piece += part
    const late = performance.now() - began > SLICE
    if (!late && piece.length < MOST) continue
    yield piece
    piece = ''
    if (!late) continue
    await turn()
    began = performance.now()
  }
  if (piece !== '') yield piece
}
