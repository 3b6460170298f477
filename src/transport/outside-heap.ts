import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes of buffers that may have become garbage before the young generation is collected for their sake. */
const MOST = 4 << 20
/** Past it the collection does not wait for the end of the event loop's turn. */
const AT_ONCE = 2 * MOST
/** Smaller pieces share memory with others, and come with enough objects to bring collections about. */
const SMALL = 4096

let passed = 0
let due = false
let collect: ((options?: { type: 'minor' }) => void) | undefined

/**
 * Tells of a piece that has memory of its own for a moment. A stream of large pieces is nearly all outside V8's heap: V8 sees little reason
 * to collect, then does all of it at once after some 40 MiB. A collection of the young generation alone takes 1 ms.
 */
export function allocated(bytes: number): void {
  if (bytes < SMALL) return
  passed += bytes
  if (passed < MOST) return
  // Hundreds of sockets are read before an immediate's turn comes.
  if (passed >= AT_ONCE) relieve()
  else if (!due) {
    due = true
    setImmediate(relieve)
  }
}

function relieve(): void {
  due = false
  if (passed < MOST) return
  passed = 0
  collector()({ type: 'minor' })
}

/** V8's own collector. */
export function collector(): (options?: { type: 'minor' }) => void {
  if (!collect) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as NonNullable<typeof collect>
    setFlagsFromString('--no-expose-gc')
  }
  return collect
}
