/** Runs `work` when it is told to; told while it runs, once more afterwards. `work` does not reject. */
export function onceMore(work: () => Promise<void>): () => void {
  let running = false
  let again = false
  return () => {
    if (running) {
      again = true
      return
    }
    running = true
    void (async () => {
      do {
        again = false
        await work()
      } while (again)
      running = false
    })()
  }
}
