import { Code, OutriderError } from '../../../errors.ts'
import { json, noContent, type Route } from '../route.ts'

export interface Health {
  appId: string
  /** What is not ready yet, by daprd's target names; empty when ready. */
  notReady(): readonly string[]
  outboundReady(): boolean
  /** Sentences for a human: which component waits for what. */
  reasons(): readonly string[]
  /** All there is to tell, for `?verbose`. */
  verbose(): unknown
}

export const HEALTH_PATHS = new Set(['/v1.0/healthz', '/v1.0/healthz/outbound'])

/** `/v1.0/healthz` and `/v1.0/healthz/outbound`; with `?verbose` the same status with all states in the body. */
export function healthRoutes(health: Health): Route[] {
  const row = { methods: ['GET'], group: 'healthz', version: 'v1' }
  return [
    {
      ...row,
      path: '/v1.0/healthz',
      name: 'Healthz',
      handler: (call) => {
        const appId = call.query.get('appid')
        if (appId !== null && appId !== health.appId)
          throw refuse('ERR_HEALTH_APPID_NOT_MATCH', 'dapr app-id does not match', `This sidecar serves ${health.appId}.`)
        const targets = health.notReady()
        if (call.query.has('verbose')) return { ...json(health.verbose()), status: targets.length > 0 ? 500 : 200 }
        if (targets.length > 0)
          throw refuse(
            'ERR_HEALTH_NOT_READY',
            `dapr is not ready: [${targets.join(' ')}]`,
            health.reasons().join('; ') || 'Wait and ask again.',
          )
        return noContent
      },
    },
    {
      ...row,
      path: '/v1.0/healthz/outbound',
      name: 'HealthzOutbound',
      handler: (call) => {
        if (call.query.has('verbose')) return { ...json(health.verbose()), status: health.outboundReady() ? 200 : 500 }
        if (!health.outboundReady())
          throw refuse('ERR_OUTBOUND_HEALTH_NOT_READY', 'dapr outbound is not ready', health.reasons().join('; ') || 'Wait and ask again.')
        return noContent
      },
    },
  ]
}

function refuse(code: string, message: string, hint: string): OutriderError {
  return new OutriderError({ code, http: 500, grpc: Code.Internal, message, hint, retryable: true })
}
