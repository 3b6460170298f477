import { Code, errorInfo, OutriderError } from '../../../errors.ts'
import type { Handler, Route } from '../route.ts'

/**
 * Blocks that this sidecar does not have yet answer as daprd does when they are switched off:
 * actors and workflows without placement, jobs without a scheduler.
 */
export function unavailableRoutes(appId: string, namespace: string): Route[] {
  const noPlacement: Handler = () => {
    throw new OutriderError({
      code: 'ERR_ACTOR_NO_PLACEMENT',
      http: 400,
      grpc: Code.Internal,
      message: 'placement service is not configured',
      hint: 'Actors and workflows are not served by this version of Outrider.',
    })
  }
  const noScheduler =
    (reason: string, what: string): Handler =>
    () => {
      throw new OutriderError({
        code: reason,
        http: 500,
        grpc: Code.Internal,
        message: `failed to ${what} job due to: scheduler clients are disabled`,
        hint: 'Jobs are not served by this version of Outrider.',
        details: [errorInfo(reason, { appID: appId, namespace })],
      })
    }
  const routes: Route[] = []
  const actor = (methods: string[], path: string, name: string) =>
    routes.push({ methods, path: `/v1.0/actors/:type/:id/${path}`, group: 'actors', version: 'v1', name, handler: noPlacement })
  actor(['POST', 'PUT'], 'state', 'ExecuteActorStateTransaction')
  actor(['GET'], 'state/:key', 'GetActorState')
  actor(['GET', 'POST', 'PUT', 'DELETE'], 'method/:method', 'InvokeActor')
  actor(['POST', 'PUT', 'GET', 'DELETE'], 'reminders/:name', 'ActorReminder')
  actor(['POST', 'PUT', 'DELETE'], 'timers/:name', 'ActorTimer')
  for (const version of ['v1.0', 'v1.0-beta1', 'v1.0-alpha1']) {
    const row = { group: 'workflows', version: version.replace('.0-', '').replace('.0', ''), handler: noPlacement }
    routes.push({ ...row, methods: ['GET'], path: `/${version}/workflows/:component/:instance`, name: 'GetWorkflow' })
    for (const verb of ['start', 'pause', 'resume', 'terminate', 'purge'])
      routes.push({ ...row, methods: ['POST'], path: `/${version}/workflows/:component/:instance/${verb}`, name: 'Workflow' })
    routes.push({
      ...row,
      methods: ['POST'],
      path: `/${version}/workflows/:component/:instance/raiseEvent/:event`,
      name: 'RaiseEventWorkflow',
    })
  }
  for (const version of ['v1.0', 'v1.0-alpha1']) {
    const row = { path: `/${version}/jobs/:name`, group: 'jobs', version: version === 'v1.0' ? 'v1' : 'v1alpha1' }
    routes.push({ ...row, methods: ['POST'], name: 'ScheduleJob', handler: noScheduler('DAPR_SCHEDULER_SCHEDULE_JOB', 'schedule') })
    routes.push({ ...row, methods: ['GET'], name: 'GetJob', handler: noScheduler('DAPR_SCHEDULER_GET_JOB', 'get') })
    routes.push({ ...row, methods: ['DELETE'], name: 'DeleteJob', handler: noScheduler('DAPR_SCHEDULER_DELETE_JOB', 'delete') })
  }
  return routes
}
