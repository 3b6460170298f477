import { messageOf } from '../errors.ts'
import { callSidecar, type SidecarAddress } from './sidecar-client.ts'
import { CommandError } from './status.ts'

/** What `/v1.0/healthz?verbose` tells. */
export interface HealthReport {
  id: string
  state: string
  since: string
  reasons: string[]
  parts: { kind: string; name: string; detail: string; state: string; since: string; error?: string; nextAttempt?: string }[]
  reloads: { lastSuccess?: string; lastFailure?: string }
  /** Folders it follows, absolute. */
  resources: string[]
}

/** Asks a sidecar for its states. Throws CommandError. */
export async function healthReport(sidecar: SidecarAddress): Promise<HealthReport> {
  const reply = await callSidecar(sidecar, 'GET', '/v1.0/healthz?verbose', { timeout: 5000 }).catch((error: unknown) => {
    throw new CommandError(`the sidecar does not answer: ${messageOf(error)}`, 'outrider list shows which ones run')
  })
  try {
    const report = JSON.parse(reply.body) as Partial<HealthReport>
    if (typeof report.state === 'string' && Array.isArray(report.parts)) return report as HealthReport
  } catch {
    // Another sidecar's answer: told below.
  }
  throw new CommandError('the sidecar does not tell its states', 'is it an Outrider of this version?')
}
