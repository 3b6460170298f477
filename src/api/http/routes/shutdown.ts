import { noContent, type Route } from '../route.ts'

/** POST `/v1.0/shutdown`; header `dapr-force-shutdown: true` skips the drain. */
export function shutdownRoutes(shutdown: (force: boolean) => void): Route[] {
  return [
    {
      methods: ['POST'],
      path: '/v1.0/shutdown',
      group: 'shutdown',
      version: 'v1',
      name: 'Shutdown',
      handler: (call) => {
        shutdown(String(call.headers['dapr-force-shutdown']).toLowerCase() === 'true')
        return noContent
      },
    },
  ]
}
