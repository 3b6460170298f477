import { Code, errorInfo, OutriderError } from '../errors.ts'

/**
 * What blocks that this sidecar does not have yet answer: the same as daprd's do when they are switched off,
 * actors and workflows without placement, jobs without a scheduler.
 */

export function noPlacement(): OutriderError {
  return new OutriderError({
    code: 'ERR_ACTOR_NO_PLACEMENT',
    http: 400,
    grpc: Code.Unavailable,
    message: 'placement service is not configured',
    hint: 'Actors and workflows are not served by this version of Outrider.',
  })
}

/** Throws for the actor types that workflows use inside; apps may not ask for them, placement or not. */
export function requireAppActorType(type: string): void {
  if (!type.startsWith('dapr.internal.')) return
  throw new OutriderError({
    code: 'ERR_ACTOR_TYPE_RESERVED',
    http: 403,
    grpc: Code.PermissionDenied,
    message: `actor type ${JSON.stringify(type)} is reserved for the Dapr workflow runtime; direct actor API access is not permitted`,
    hint: 'choose an actor type that does not begin with dapr.internal.',
  })
}

const JOB_CALLS = {
  DAPR_SCHEDULER_SCHEDULE_JOB: 'schedule job',
  DAPR_SCHEDULER_GET_JOB: 'get job',
  DAPR_SCHEDULER_DELETE_JOB: 'delete job',
  DAPR_SCHEDULER_LIST_JOBS: 'list jobs',
} as const

/** For one app's calls: what each is refused with. */
export function jobErrors(appId: string, namespace: string) {
  const metadata = { appID: appId, namespace }
  return {
    noScheduler(code: keyof typeof JOB_CALLS): OutriderError {
      return new OutriderError({
        code,
        http: 500,
        grpc: Code.Internal,
        message: `failed to ${JOB_CALLS[code]} due to: scheduler clients are disabled`,
        hint: 'Jobs are not served by this version of Outrider.',
        details: [errorInfo(code, metadata)],
      })
    },
    /** A part of the request that must be there is not. */
    empty(part: 'Job' | 'Name' | 'Schedule'): OutriderError {
      const code = { Job: 'DAPR_SCHEDULER_EMPTY', Name: 'DAPR_SCHEDULER_JOB_NAME_EMPTY', Schedule: 'DAPR_SCHEDULER_SCHEDULE_EMPTY' }[part]
      return new OutriderError({
        code,
        http: 400,
        grpc: Code.InvalidArgument,
        message: `${part} is empty`,
        hint: 'send a job with a name, and with a schedule or a due time',
        details: [errorInfo(code, metadata)],
      })
    },
  }
}
