import { jobErrors, noPlacement, requireAppActorType } from '../../blocks/unavailable.ts'
import { Code, OutriderError } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import {
  bool,
  bytes,
  int32,
  int64,
  type MessageOf,
  type MessageType,
  map,
  message,
  nested,
  optional,
  repeated,
  string,
  uint32,
} from '../../transport/grpc/message.ts'
import { decodeRequest, type GrpcMethod, type GrpcStream, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { DAPR, type GrpcMethods } from './method.ts'

const runtime = 'dapr.proto.runtime.v1.'
const actor = { actorType: string(1), actorId: string(2) }
const Any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) })
const Duration = message('google.protobuf.Duration', { seconds: int64(1), nanos: int32(2) })
const JobFailurePolicy = message('dapr.proto.common.v1.JobFailurePolicy', {
  drop: nested(1, message('dapr.proto.common.v1.JobFailurePolicyDrop', {})),
  constant: nested(
    2,
    message('dapr.proto.common.v1.JobFailurePolicyConstant', { interval: nested(1, Duration), maxRetries: optional(uint32(2)) }),
  ),
})
const schedule = { name: string(3), dueTime: string(4), period: string(5) }
const byType = { actorType: string(1), actorId: optional(string(2)) }
const TransactionalActorStateOperation = message(`${runtime}TransactionalActorStateOperation`, {
  operationType: string(1),
  key: string(2),
  value: nested(3, Any),
  metadata: map(4),
})
const ACTOR_REQUESTS = {
  RegisterActorTimer: { ...actor, ...schedule, callback: string(6), data: bytes(7), ttl: string(8) },
  UnregisterActorTimer: { ...actor, name: string(3) },
  RegisterActorReminder: {
    ...actor,
    ...schedule,
    data: bytes(6),
    ttl: string(7),
    overwrite: optional(bool(8)),
    failurePolicy: nested(9, JobFailurePolicy),
  },
  UnregisterActorReminder: { ...actor, name: string(3) },
  UnregisterActorRemindersByType: byType,
  ListActorReminders: byType,
  GetActorReminder: { ...actor, name: string(3) },
  GetActorState: { ...actor, key: string(3) },
  ExecuteActorStateTransaction: { ...actor, operations: repeated(nested(3, TransactionalActorStateOperation)) },
  InvokeActor: { ...actor, method: string(3), data: bytes(4), metadata: map(5) },
}
const workflow = { instanceId: string(1), workflowComponent: string(2) }
const onWorkflow = { ...workflow, appId: optional(string(3)) }
const WORKFLOW_REQUESTS = {
  GetWorkflow: onWorkflow,
  StartWorkflow: { ...workflow, workflowName: string(3), options: map(4), input: bytes(5), appId: optional(string(6)) },
  TerminateWorkflow: onWorkflow,
  PauseWorkflow: onWorkflow,
  ResumeWorkflow: onWorkflow,
  PurgeWorkflow: onWorkflow,
  RaiseEventWorkflow: { ...workflow, eventName: string(3), eventData: bytes(4), appId: optional(string(5)) },
}
const Job = message(`${runtime}Job`, {
  name: string(1),
  schedule: optional(string(2)),
  repeats: optional(uint32(3)),
  dueTime: optional(string(4)),
  ttl: optional(string(5)),
  data: nested(6, Any),
  failurePolicy: nested(7, JobFailurePolicy),
})
const ScheduleJobRequest = message(`${runtime}ScheduleJobRequest`, { job: nested(1, Job), overwrite: bool(2) })
const GetJobRequest = message(`${runtime}GetJobRequest`, { name: string(1) })
const DeleteJobRequest = message(`${runtime}DeleteJobRequest`, { name: string(1) })
/** Only whether it is there counts while nobody hosts actors. */
const SubscribeActorEventsRequest = message(`${runtime}SubscribeActorEventsRequestAlpha1`, {
  initialRequest: nested(1, message(`${runtime}SubscribeActorEventsRequestInitialAlpha1`, { entities: repeated(string(1)) })),
})
const SubscribeActorEventsResponse = message(`${runtime}SubscribeActorEventsResponseAlpha1`, {
  initialResponse: nested(1, message(`${runtime}SubscribeActorEventsResponseInitialAlpha1`, {})),
})

export interface UnavailableOptions {
  appId: string
  namespace: string
  /** Whether the app speaks HTTP: it cannot stream actor events then. */
  httpApp: boolean
  /** Aborted when the sidecar stops: streams that wait for nothing would hold it up. */
  stopping: AbortSignal
}

/** Methods of blocks that this sidecar does not have yet, answering as daprd's do when they are switched off. */
export function unavailableMethods({ appId, namespace, httpApp, stopping }: UnavailableOptions): GrpcMethods {
  const jobs = jobErrors(appId, namespace)
  return [
    ...Object.entries(ACTOR_REQUESTS).map(([name, fields]) =>
      refusing(name, message(`${runtime}${name}Request`, fields), ({ actorType }) => {
        if (name !== 'InvokeActor') requireAppActorType(actorType)
        return noPlacement()
      }),
    ),
    [`${DAPR}SubscribeActorEventsAlpha1`, { kind: 'stream', handle: (stream) => subscribeActorEvents(stream, httpApp, stopping) }],
    ...Object.entries(WORKFLOW_REQUESTS).flatMap(([name, fields]) => {
      const request = message(`${runtime}${name}Request`, fields)
      return ['Alpha1', 'Beta1'].map((version) => refusing(name + version, request, noPlacement))
    }),
    ...['', 'Alpha1'].flatMap((version) => [
      refusing(`ScheduleJob${version}`, ScheduleJobRequest, ({ job }) => {
        if (!job) return jobs.empty('Job')
        if (job.name === '') return jobs.empty('Name')
        if (job.schedule === undefined && job.dueTime === undefined) return jobs.empty('Schedule')
        return jobs.noScheduler('DAPR_SCHEDULER_SCHEDULE_JOB')
      }),
      refusing(`GetJob${version}`, GetJobRequest, ({ name }) =>
        name === '' ? jobs.empty('Name') : jobs.noScheduler('DAPR_SCHEDULER_GET_JOB'),
      ),
      refusing(`DeleteJob${version}`, DeleteJobRequest, ({ name }) =>
        name === '' ? jobs.empty('Name') : jobs.noScheduler('DAPR_SCHEDULER_DELETE_JOB'),
      ),
      refusing(
        `DeleteJobsByPrefix${version}`,
        message(`${runtime}DeleteJobsByPrefixRequest${version}`, { namePrefix: optional(string(1)) }),
        () => jobs.noScheduler('DAPR_SCHEDULER_DELETE_JOB'),
      ),
      refusing(`ListJobs${version}`, message(`${runtime}ListJobsRequest${version}`, {}), () =>
        jobs.noScheduler('DAPR_SCHEDULER_LIST_JOBS'),
      ),
    ]),
  ]
}

function refusing<T, I>(name: string, request: MessageType<T, I>, why: (request: T) => OutriderError): readonly [string, GrpcMethod] {
  return [
    DAPR + name,
    unary(
      request.decode,
      () => Buffer.alloc(0),
      (given) => {
        throw why(given)
      },
    ),
  ]
}

/** Without placement a registration is taken and no event ever comes: the stream stays until the app or the sidecar ends it. */
function subscribeActorEvents(stream: GrpcStream, httpApp: boolean, stopping: AbortSignal): void {
  if (httpApp) return stream.fail(new GrpcStatus(Code.FailedPrecondition, 'actor callback streaming requires a gRPC app channel'))
  let registered = false
  stream.onMessage = (bytes) => {
    if (registered) return
    registered = true
    let given: MessageOf<typeof SubscribeActorEventsRequest>
    try {
      given = decodeRequest(SubscribeActorEventsRequest.decode, bytes)
    } catch (error) {
      return stream.fail(error)
    }
    if (given.initialRequest) return void stream.write(frame(SubscribeActorEventsResponse.encode({ initialResponse: {} })))
    stream.fail(
      new OutriderError({
        code: 'ERROR',
        http: 400,
        grpc: Code.InvalidArgument,
        message: 'first message must be SubscribeActorEventsRequestInitialAlpha1',
        hint: 'send initial_request first, with the actor types that the app hosts',
      }),
    )
  }
  const end = () => stream.end()
  stream.onEnd = end
  stream.onClose = () => stopping.removeEventListener('abort', end)
  stopping.addEventListener('abort', end)
  if (stopping.aborted) end()
}
