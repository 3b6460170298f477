import { connect } from 'node:net'

/** Resolves once a TCP connection succeeds: tries at once, then every 20 ms, slowing to 100 ms. */
export function waitForPort(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let pause = 20
    let timer: NodeJS.Timeout | undefined
    let socket: ReturnType<typeof connect> | undefined
    const onAbort = () => {
      clearTimeout(timer)
      socket?.destroy()
      reject(signal.reason)
    }
    const attempt = () => {
      socket = connect({ host, port, timeout: 500 })
      let settled = false
      const retry = () => {
        if (settled || signal.aborted) return
        settled = true
        socket?.destroy()
        timer = setTimeout(attempt, pause)
        pause = Math.min(100, pause * 1.25)
      }
      socket.once('connect', () => {
        if (settled) return
        settled = true
        socket?.destroy()
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      socket.once('timeout', retry)
      socket.on('error', retry)
    }
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    attempt()
  })
}
