/** The broker has not answered in time. Words that `isLost` knows. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/**
 * Waits for an operation `limit` milliseconds at most. Then its signal is aborted, and whatever it still answers is not waited
 * for. `given up` ends the wait too; `signal` is only passed on.
 */
export function bounded<T>(
  operation: (signal: AbortSignal) => Promise<T>,
  limit: number,
  signal?: AbortSignal,
  givenUp?: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const attempt = new AbortController()
    const pass = () => attempt.abort(signal?.reason)
    const end = (error: unknown) => {
      done()
      reject(error)
      attempt.abort(error)
    }
    const giveUp = () => end(givenUp?.reason)
    const timer = setTimeout(() => end(new NoAnswer(`no answer within ${limit} ms`)), limit)
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', pass)
      givenUp?.removeEventListener('abort', giveUp)
    }
    if (signal?.aborted) pass()
    else signal?.addEventListener('abort', pass, { once: true })
    givenUp?.addEventListener('abort', giveUp, { once: true })
    operation(attempt.signal).then(
      (result) => {
        done()
        resolve(result)
      },
      (error: unknown) => {
        done()
        reject(error)
      },
    )
    if (givenUp?.aborted) giveUp()
  })
}
