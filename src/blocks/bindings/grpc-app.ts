import type { GrpcChannel } from '../../app/grpc-channel.ts'
import { bytes, enumeration, map, message, repeated, string } from '../../transport/grpc/message.ts'
import { describeStatus, GrpcStatus } from '../../transport/grpc/status.ts'
import type { BindingsApp } from './app.ts'

const CALLBACK = '/dapr.proto.runtime.v1.AppCallback/'
const PARALLEL = 1

const ListInputBindingsResponse = message('dapr.proto.runtime.v1.ListInputBindingsResponse', { bindings: repeated(string(1)) })
const BindingEventRequest = message('dapr.proto.runtime.v1.BindingEventRequest', { name: string(1), data: bytes(2), metadata: map(3) })
/** `store_name` (1) and `states` (2) have no effect, as with Dapr. */
const BindingEventResponse = message('dapr.proto.runtime.v1.BindingEventResponse', {
  to: repeated(string(3)),
  data: bytes(4),
  concurrency: enumeration(5, {
    fullName: 'dapr.proto.runtime.v1.BindingEventResponse.BindingEventConcurrency',
    values: { 0: 'SEQUENTIAL', 1: 'PARALLEL' },
  }),
})

/** The app's call failed. */
export class AppCallFailed extends Error {
  override readonly name = 'AppCallFailed'
  /** gRPC status code, for retry policies that match on it. */
  readonly status: number
  constructor(status: GrpcStatus) {
    super(`error invoking app: ${describeStatus(status)}`, { cause: status })
    this.status = status.code
  }
}

/** Input bindings of a gRPC app: ListInputBindings asks, OnBindingEvent delivers. Routes mean nothing here: the app gets the name. */
export function grpcBindingsApp(channel: Pick<GrpcChannel, 'unary'>): BindingsApp {
  let asked: Promise<readonly string[]> | undefined
  return {
    begin() {
      asked = undefined
    },
    async wants(name, _route, signal) {
      // An app that does not answer wants none; it is asked again at the next start.
      asked ??= channel.unary(`${CALLBACK}ListInputBindings`, Buffer.alloc(0), { signal }).then(
        (reply) => ListInputBindingsResponse.decode(reply).bindings,
        () => [],
      )
      return (await asked).includes(name)
    },
    async deliver(name, _route, event, signal) {
      const request = BindingEventRequest.encode({ name, data: event.data, metadata: event.metadata })
      try {
        const reply = BindingEventResponse.decode(await channel.unary(`${CALLBACK}OnBindingEvent`, request, signal ? { signal } : {}))
        return { data: reply.data, to: reply.to, parallel: reply.concurrency === PARALLEL }
      } catch (error) {
        throw new AppCallFailed(GrpcStatus.from(error))
      }
    },
  }
}
