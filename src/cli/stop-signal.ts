/** The wish to end, from Ctrl-C, `stop`, a closed terminal or the tool itself. */
export interface StopSignal {
  readonly signal: AbortSignal
  readonly wished: Promise<void>
  /** Called at a second Ctrl-C: whoever waits for a graceful end gives up waiting. */
  onHurry(callback: () => void): void
  release(): void
}

/** Listens for SIGINT, SIGTERM and SIGHUP until released. */
export function listenForStop(): StopSignal {
  const controller = new AbortController()
  const hurry: (() => void)[] = []
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  let first = 0
  const onSignal = () => {
    if (!controller.signal.aborted) {
      first = Date.now()
      controller.abort()
    } else if (Date.now() - first > 300) {
      // npm and a terminal can both deliver one Ctrl-C; only a later one is a second wish.
      for (const callback of hurry) callback()
    }
  }
  for (const name of names) process.on(name, onSignal)
  return {
    signal: controller.signal,
    wished: new Promise((done) => controller.signal.addEventListener('abort', () => done(), { once: true })),
    onHurry: (callback) => void hurry.push(callback),
    release: () => {
      for (const name of names) process.off(name, onSignal)
    },
  }
}
