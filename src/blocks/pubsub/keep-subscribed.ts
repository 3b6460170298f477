/** Between attempts to subscribe, milliseconds: doubling from the first to the most. */
const FIRST = 500
const MOST = 60_000

/**
 * Subscribes now, or goes on trying in the background until it succeeds. Resolves after the first attempt; disposing
 * ends the subscription, or the attempts.
 */
export async function keepSubscribed(
  subscribe: () => Promise<AsyncDisposable>,
  onFailure: (error: unknown, wait: number) => void,
): Promise<AsyncDisposable> {
  let handle: AsyncDisposable | undefined
  let ended = false
  let timer: NodeJS.Timeout | undefined
  let wait = FIRST
  let attempt: Promise<void> | undefined

  const run = async () => {
    try {
      handle = await subscribe()
    } catch (error) {
      if (ended) return
      onFailure(error, wait)
      timer = setTimeout(() => {
        attempt = run()
      }, wait)
      wait = Math.min(wait * 2, MOST)
    }
  }
  attempt = run()
  await attempt
  return {
    async [Symbol.asyncDispose]() {
      ended = true
      clearTimeout(timer)
      await attempt
      await handle?.[Symbol.asyncDispose]()
    },
  }
}
