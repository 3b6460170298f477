import { jobErrors, noPlacement, requireAppActorType } from '../../../blocks/unavailable.ts'
import type { Call, Handler, Route } from '../route.ts'

/**
 * Blocks that this sidecar does not have yet answer as daprd does when they are switched off:
 * actors and workflows without placement, jobs without a scheduler.
 */
export function unavailableRoutes(appId: string, namespace: string): Route[] {
  const jobs = jobErrors(appId, namespace)
  const refuse =
    (why: (call: Call) => Error): Handler =>
    (call) => {
      throw why(call)
    }
  const routes: Route[] = []
  const actor = (methods: string[], path: string, name: string) =>
    routes.push({
      methods,
      path: `/v1.0/actors/:type/:id/${path}`,
      group: 'actors',
      version: 'v1',
      name,
      handler: refuse((call) => {
        if (name !== 'InvokeActor') requireAppActorType(call.params.type as string)
        return noPlacement()
      }),
    })
  actor(['POST', 'PUT'], 'state', 'ExecuteActorStateTransaction')
  actor(['GET'], 'state/:key', 'GetActorState')
  actor(['GET', 'POST', 'PUT', 'DELETE'], 'method/:method', 'InvokeActor')
  actor(['POST', 'PUT', 'GET', 'DELETE'], 'reminders/:name', 'ActorReminder')
  actor(['POST', 'PUT', 'DELETE'], 'timers/:name', 'ActorTimer')
  for (const version of ['v1.0', 'v1.0-beta1', 'v1.0-alpha1']) {
    const row = { group: 'workflows', version: version.replace('.0-', '').replace('.0', ''), handler: refuse(noPlacement) }
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
    routes.push({ ...row, methods: ['POST'], name: 'ScheduleJob', handler: refuse(() => jobs.noScheduler('DAPR_SCHEDULER_SCHEDULE_JOB')) })
    routes.push({ ...row, methods: ['GET'], name: 'GetJob', handler: refuse(() => jobs.noScheduler('DAPR_SCHEDULER_GET_JOB')) })
    routes.push({ ...row, methods: ['DELETE'], name: 'DeleteJob', handler: refuse(() => jobs.noScheduler('DAPR_SCHEDULER_DELETE_JOB')) })
  }
  return routes
}
