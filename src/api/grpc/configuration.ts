import { type ConfigurationBlock, type ConfigurationItems, shownItem } from '../../blocks/configuration/block.ts'
import { Code, OutriderError } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { bool, map, mapOf, message, repeated, string } from '../../transport/grpc/message.ts'
import { decodeRequest, type GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { DAPR, daprUnary, type GrpcMethods } from './method.ts'

const runtime = 'dapr.proto.runtime.v1.'
const ConfigurationItem = message('dapr.proto.common.v1.ConfigurationItem', { value: string(1), version: string(2), metadata: map(3) })
const request = { storeName: string(1), keys: repeated(string(2)), metadata: map(3) }
const GetConfigurationRequest = message(`${runtime}GetConfigurationRequest`, request)
const GetConfigurationResponse = message(`${runtime}GetConfigurationResponse`, { items: mapOf(1, ConfigurationItem) })
const SubscribeConfigurationRequest = message(`${runtime}SubscribeConfigurationRequest`, request)
const SubscribeConfigurationResponse = message(`${runtime}SubscribeConfigurationResponse`, {
  id: string(1),
  items: mapOf(2, ConfigurationItem),
})
const UnsubscribeConfigurationRequest = message(`${runtime}UnsubscribeConfigurationRequest`, { storeName: string(1), id: string(2) })
const UnsubscribeConfigurationResponse = message(`${runtime}UnsubscribeConfigurationResponse`, { ok: bool(1), message: string(2) })

/**
 * The methods of the configuration building block, in both their versions.
 * @param onMissing hears of each unsubscription from what is no subscription: that is an answer, but counts as an error
 */
export function configurationMethods(block: ConfigurationBlock, onMissing?: (error: OutriderError) => void): GrpcMethods {
  return ['', 'Alpha1'].flatMap(
    (version): GrpcMethods => [
      daprUnary(`GetConfiguration${version}`, GetConfigurationRequest, GetConfigurationResponse, async (given, call) => ({
        items: shown(await block.get(given.storeName, given.keys, given.metadata, call.signal)),
      })),
      [`${DAPR}SubscribeConfiguration${version}`, { kind: 'stream', handle: (stream) => subscribe(block, stream) }],
      daprUnary(`UnsubscribeConfiguration${version}`, UnsubscribeConfigurationRequest, UnsubscribeConfigurationResponse, async ({ id }) => {
        if (await block.end(id)) return { ok: true }
        const error = new OutriderError({
          code: 'ERR_CONFIGURATION_UNSUBSCRIBE',
          http: 500,
          grpc: Code.Internal,
          message: `failed to unsubscribe to configuration request ${id}: subscription does not exist`,
          hint: 'send the id of the first message of SubscribeConfiguration; it ends with its stream',
        })
        onMissing?.(error)
        return { message: error.message }
      }),
    ],
  )
}

function shown(items: ConfigurationItems) {
  return Object.fromEntries(Object.entries(items).map(([key, item]) => [key, shownItem(item)]))
}

/**
 * One request in; out come the id of the subscription alone, then each update. Whoever ends it first ends the other:
 * the stream, or the subscription (Unsubscribe, the store going away, the sidecar stopping).
 */
function subscribe(block: ConfigurationBlock, stream: GrpcStream): void {
  let asked = false
  stream.onMessage = (bytes) => {
    if (asked) return stream.fail(new GrpcStatus(Code.Internal, 'grpc: received more than one message for a request without a stream'))
    asked = true
    serve(block, stream, bytes).catch((error: unknown) => stream.fail(error))
  }
  stream.onEnd = () => {
    if (!asked) stream.fail(new GrpcStatus(Code.Internal, 'grpc: no message received'))
  }
}

async function serve(block: ConfigurationBlock, stream: GrpcStream, request: Buffer): Promise<void> {
  const given = decodeRequest(SubscribeConfigurationRequest.decode, request)
  const told = Promise.withResolvers<void>()
  const over = Promise.withResolvers<void>()
  let id: string | undefined
  let gone = false
  stream.onClose = () => {
    gone = true
    over.resolve()
    if (id !== undefined) void block.end(id).catch(() => {})
  }
  id = await block.subscribe(given.storeName, given.keys.toSorted(), given.metadata, {
    async update(subscription, items) {
      // Changes may be seen before the client has the id; and a slow client holds back the next update, not memory.
      await told.promise
      if (gone || stream.write(frame(SubscribeConfigurationResponse.encode({ id: subscription, items: shown(items) })))) return
      await Promise.race([over.promise, new Promise<void>((resolve) => (stream.onDrain = resolve))])
    },
    ended: () => stream.end(),
  })
  if (gone) await block.end(id)
  else stream.write(frame(SubscribeConfigurationResponse.encode({ id })))
  told.resolve()
}
