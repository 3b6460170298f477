import { Code } from '../errors.ts'
import type { GrpcCallOptions } from '../transport/grpc/client.ts'
import { bytes, enumeration, type InputOf, message, nested, string } from '../transport/grpc/message.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import type { GrpcChannel } from './grpc-channel.ts'

const Any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) })
const Verb = { fullName: 'dapr.proto.common.v1.HTTPExtension.Verb', values: { 3: 'POST' } }
const POST = 3
const JobEventRequest = message('dapr.proto.runtime.v1.JobEventRequest', {
  name: string(1),
  data: nested(2, Any),
  method: string(3),
  contentType: string(4),
  httpExtension: nested(5, message('dapr.proto.common.v1.HTTPExtension', { verb: enumeration(1, Verb), querystring: string(2) })),
})

/** In the order to try: the second one is what apps made before Dapr 1.18 have. */
const PATHS = ['/dapr.proto.runtime.v1.AppCallback/OnJobEvent', '/dapr.proto.runtime.v1.AppCallbackAlpha/OnJobEventAlpha1'] as const

/** Tells an app over gRPC that a job is due, with what was scheduled with it; nothing schedules jobs yet. Rejects with GrpcStatus when the app does not take it. */
export async function sendJobEvent(
  channel: Pick<GrpcChannel, 'unary'>,
  job: { name: string; data?: InputOf<typeof Any> | undefined },
  options?: GrpcCallOptions,
): Promise<void> {
  const request = JobEventRequest.encode({
    ...job,
    method: `job/${job.name}`,
    contentType: job.data?.typeUrl,
    httpExtension: { verb: POST },
  })
  try {
    await channel.unary(PATHS[0], request, options)
  } catch (error) {
    if (!(error instanceof GrpcStatus) || error.code !== Code.Unimplemented) throw error
    await channel.unary(PATHS[1], request, options)
  }
}
