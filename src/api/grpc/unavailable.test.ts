import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { type GrpcHarness, serveGrpc, statusOf } from './harness.ts'
import { DAPR } from './method.ts'
import { type Raw, rawMessage, readRaw } from './raw-proto.ts'
import { unavailableMethods } from './unavailable.ts'

const serve = (httpApp = false, stopping = new AbortController().signal) =>
  serveGrpc({ methods: unavailableMethods({ appId: 'app', namespace: 'ns', httpApp, stopping }) })

const ACTORS = [
  'RegisterActorTimer',
  'UnregisterActorTimer',
  'RegisterActorReminder',
  'UnregisterActorReminder',
  'UnregisterActorRemindersByType',
  'ListActorReminders',
  'GetActorReminder',
  'GetActorState',
  'ExecuteActorStateTransaction',
]
const WORKFLOWS = ['Get', 'Start', 'Terminate', 'Pause', 'Resume', 'Purge', 'RaiseEvent'].flatMap((verb) => [
  `${verb}WorkflowAlpha1`,
  `${verb}WorkflowBeta1`,
])

test('actors and workflows answer that there is no placement', async () => {
  await using api = await serve()
  for (const method of [...ACTORS, 'InvokeActor', ...WORKFLOWS]) {
    const { code, message, details } = await statusOf(api.call(method, rawMessage({ 1: 'T', 2: '1' })))
    assert.deepEqual([code, message, details], [Code.Unavailable, 'placement service is not configured', []], method)
  }
})

test('actor types of the workflow runtime are refused first, but for InvokeActor', async () => {
  await using api = await serve()
  const request = rawMessage({ 1: 'dapr.internal.x', 2: '1' })
  const reserved = 'actor type "dapr.internal.x" is reserved for the Dapr workflow runtime; direct actor API access is not permitted'
  for (const method of ACTORS) {
    const { code, message } = await statusOf(api.call(method, request))
    assert.deepEqual([code, message], [Code.PermissionDenied, reserved], method)
  }
  assert.equal((await statusOf(api.call('InvokeActor', request))).code, Code.Unavailable)
  assert.equal((await statusOf(api.call('GetActorState', Buffer.from([10, 200])))).code, Code.Internal)
})

test('jobs say what is missing, then that there is no scheduler', async () => {
  await using api = await serve()
  const due = { 1: 'j', 4: '1s' }
  const cases: [method: string, request: Raw, code: Code, message: string, reason: string][] = [
    ['ScheduleJob', {}, Code.InvalidArgument, 'Job is empty', 'DAPR_SCHEDULER_EMPTY'],
    ['ScheduleJob', { 1: { 2: '@daily' } }, Code.InvalidArgument, 'Name is empty', 'DAPR_SCHEDULER_JOB_NAME_EMPTY'],
    ['ScheduleJob', { 1: { 1: 'j' } }, Code.InvalidArgument, 'Schedule is empty', 'DAPR_SCHEDULER_SCHEDULE_EMPTY'],
    [
      'ScheduleJob',
      { 1: due },
      Code.Internal,
      'failed to schedule job due to: scheduler clients are disabled',
      'DAPR_SCHEDULER_SCHEDULE_JOB',
    ],
    ['GetJob', {}, Code.InvalidArgument, 'Name is empty', 'DAPR_SCHEDULER_JOB_NAME_EMPTY'],
    ['GetJob', { 1: 'j' }, Code.Internal, 'failed to get job due to: scheduler clients are disabled', 'DAPR_SCHEDULER_GET_JOB'],
    ['DeleteJob', {}, Code.InvalidArgument, 'Name is empty', 'DAPR_SCHEDULER_JOB_NAME_EMPTY'],
    ['DeleteJob', { 1: 'j' }, Code.Internal, 'failed to delete job due to: scheduler clients are disabled', 'DAPR_SCHEDULER_DELETE_JOB'],
    [
      'DeleteJobsByPrefix',
      { 1: 'j' },
      Code.Internal,
      'failed to delete job due to: scheduler clients are disabled',
      'DAPR_SCHEDULER_DELETE_JOB',
    ],
    ['ListJobs', {}, Code.Internal, 'failed to list jobs due to: scheduler clients are disabled', 'DAPR_SCHEDULER_LIST_JOBS'],
  ]
  for (const [method, request, code, message, reason] of cases) {
    for (const version of ['', 'Alpha1']) {
      const status = await statusOf(api.call(method + version, rawMessage(request)))
      assert.deepEqual([status.code, status.message], [code, message], method)
      const info = readRaw(status.details[0]?.value ?? Buffer.alloc(0), { 1: 's', 2: 's', 3: [{ 1: 's', 2: 's' }] })
      const metadata = [
        { 1: 'appID', 2: 'app' },
        { 1: 'namespace', 2: 'ns' },
      ]
      assert.deepEqual(info, { 1: reason, 2: 'dapr.io', 3: metadata }, method)
    }
  }
})

/** What a stream of actor events brings for these messages, the client then being done. */
async function subscribe(api: GrpcHarness, ...messages: Raw[]) {
  const received: string[] = []
  const { promise, resolve } = Promise.withResolvers<GrpcStatus | undefined>()
  const stream = api.client.stream(
    api.address,
    `${DAPR}SubscribeActorEventsAlpha1`,
    {},
    { onMessage: (message) => void received.push(message.toString('hex')), onClose: resolve },
  )
  for (const message of messages) stream.write(frame(rawMessage(message)))
  stream.end()
  return { status: await promise, received }
}

test('an actor event stream registers and then stays silent; only a registration may come first', async () => {
  await using api = await serve()
  const registered = await subscribe(api, { 1: { 1: ['T'] } }, { 2: { 1: 'id' } })
  assert.deepEqual(registered, { status: undefined, received: ['0a00'] })
  const { status } = await subscribe(api, { 2: { 1: 'id' } })
  assert.deepEqual(
    [status?.code, status?.message],
    [Code.InvalidArgument, 'first message must be SubscribeActorEventsRequestInitialAlpha1'],
  )
  await using overHttp = await serve(true)
  const refused = await subscribe(overHttp, { 1: {} })
  assert.deepEqual(
    [refused.status?.code, refused.status?.message],
    [Code.FailedPrecondition, 'actor callback streaming requires a gRPC app channel'],
  )
})

test('the sidecar stopping ends actor event streams, those under way and those that come late', async () => {
  const stop = new AbortController()
  await using api = await serve(false, stop.signal)
  const open = () => {
    const registered = Promise.withResolvers<void>()
    const { promise, resolve } = Promise.withResolvers<GrpcStatus | undefined>()
    const listener = { onMessage: () => registered.resolve(), onClose: resolve }
    api.client.stream(api.address, `${DAPR}SubscribeActorEventsAlpha1`, {}, listener).write(frame(rawMessage({ 1: {} })))
    return { registered: registered.promise, ended: promise }
  }
  const early = open()
  await early.registered
  stop.abort()
  assert.equal(await early.ended, undefined)
  assert.equal(await open().ended, undefined)
})
