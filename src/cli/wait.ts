/** Waits until a local sidecar's outbound side is ready; gives the exit code: 0, or 1 after 60 s. */
export async function waitForOutbound(port: number): Promise<number> {
  const deadline = Date.now() + 60_000
  while (Date.now() < deadline) {
    try {
      const reply = await fetch(`http://localhost:${port}/v1.0/healthz/outbound`, { signal: AbortSignal.timeout(500) })
      await reply.arrayBuffer()
      if (reply.status === 204) return 0
    } catch {
      // not listening yet
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  console.error(`outriderd: no ready sidecar on port ${port} after 60s`)
  return 1
}
