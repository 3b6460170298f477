import type { Duplex } from 'node:stream'

/**
 * All that a turn of the event loop writes to the stream goes out with one system call, at the turn's end: requests of many callers
 * arrive in one turn, each in a callback of its own, after which ticks and microtasks have run already. The end and the
 * destruction of the stream stay what they are.
 */
export function gatherWrites(stream: Duplex): void {
  const write = stream.write
  let gathering = false
  const end = () => {
    gathering = false
    stream.uncork()
  }
  stream.write = function gather(this: Duplex, ...given: unknown[]) {
    if (!gathering && !stream.destroyed) {
      gathering = true
      stream.cork()
      setImmediate(end)
    }
    return (write as (...given: unknown[]) => boolean).apply(this, given)
  } as typeof stream.write
}
