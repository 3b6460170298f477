import { bool, bytes, enumeration, map, message, nested, optional, repeated, string } from '../../transport/grpc/message.ts'
import { Any, Struct } from './conversation-messages.ts'
import { StateItem } from './state-messages.ts'

/**
 * Tables of the messages whose codecs are written by hand (messages.ts, subscribe-stream.ts): server reflection describes
 * them by these. Loaded when somebody asks for it.
 */

const runtime = (name: string) => `dapr.proto.runtime.v1.${name}`
const common = (name: string) => `dapr.proto.common.v1.${name}`

const Consistency = {
  fullName: common('StateOptions.StateConsistency'),
  values: { 0: 'CONSISTENCY_UNSPECIFIED', 1: 'CONSISTENCY_EVENTUAL', 2: 'CONSISTENCY_STRONG' },
}
message(runtime('GetStateRequest'), {
  storeName: string(1),
  key: string(2),
  consistency: enumeration(3, Consistency),
  metadata: map(4),
})
message(runtime('GetStateResponse'), { data: bytes(1), etag: string(2), metadata: map(3) })
message(runtime('SaveStateRequest'), { storeName: string(1), states: repeated(nested(2, StateItem)) })
message(runtime('PublishEventRequest'), {
  pubsubName: string(1),
  topic: string(2),
  data: bytes(3),
  dataContentType: string(4),
  metadata: map(5),
})

const HttpVerb = {
  fullName: common('HTTPExtension.Verb'),
  values: { 0: 'NONE', 1: 'GET', 2: 'HEAD', 3: 'POST', 4: 'PUT', 5: 'DELETE', 6: 'CONNECT', 7: 'OPTIONS', 8: 'TRACE', 9: 'PATCH' },
}
const InvokeRequest = message(common('InvokeRequest'), {
  method: string(1),
  data: nested(2, Any),
  contentType: string(3),
  httpExtension: nested(4, message(common('HTTPExtension'), { verb: enumeration(1, HttpVerb), querystring: string(2) })),
})
message(runtime('InvokeServiceRequest'), { id: string(1), message: nested(3, InvokeRequest) })
message(common('InvokeResponse'), { data: nested(1, Any), contentType: string(2) })

const TopicEventStatus = {
  fullName: runtime('TopicEventResponse.TopicEventResponseStatus'),
  values: { 0: 'SUCCESS', 1: 'RETRY', 2: 'DROP' },
}
const TopicEvent = message(runtime('TopicEventRequest'), {
  id: string(1),
  source: string(2),
  type: string(3),
  specVersion: string(4),
  dataContentType: string(5),
  topic: string(6),
  data: bytes(7),
  pubsubName: string(8),
  path: string(9),
  extensions: nested(10, Struct),
})
message(runtime('SubscribeTopicEventsRequestAlpha1'), {
  initialRequest: nested(
    1,
    message(runtime('SubscribeTopicEventsRequestInitialAlpha1'), {
      pubsubName: string(1),
      topic: string(2),
      metadata: map(3),
      deadLetterTopic: optional(string(4)),
    }),
  ),
  eventProcessed: nested(
    2,
    message(runtime('SubscribeTopicEventsRequestProcessedAlpha1'), {
      id: string(1),
      status: nested(2, message(runtime('TopicEventResponse'), { status: enumeration(1, TopicEventStatus) })),
    }),
  ),
})
message(runtime('SubscribeTopicEventsResponseAlpha1'), {
  initialResponse: nested(1, message(runtime('SubscribeTopicEventsResponseInitialAlpha1'), {})),
  eventMessage: nested(2, TopicEvent),
})

const KeyFormat = { fullName: runtime('SubtleGetKeyRequest.KeyFormat'), values: { 0: 'PEM', 1: 'JSON' } }
message(runtime('SubtleGetKeyRequest'), { componentName: string(1), name: string(2), format: enumeration(3, KeyFormat) })
message(runtime('SubtleGetKeyResponse'), { name: string(1), publicKey: string(2) })
/** Every other request names the component first, then the algorithm and the key. */
const subtle = { componentName: string(1), algorithm: string(3), keyName: string(4) }
const sealed = { nonce: bytes(5), tag: bytes(6), associatedData: bytes(7) }
const sealing = { nonce: bytes(5), associatedData: bytes(6) }
message(runtime('SubtleEncryptRequest'), { ...subtle, plaintext: bytes(2), ...sealing })
message(runtime('SubtleEncryptResponse'), { ciphertext: bytes(1), tag: bytes(2) })
message(runtime('SubtleDecryptRequest'), { ...subtle, ciphertext: bytes(2), ...sealed })
message(runtime('SubtleDecryptResponse'), { plaintext: bytes(1) })
message(runtime('SubtleWrapKeyRequest'), { ...subtle, plaintextKey: bytes(2), ...sealing })
message(runtime('SubtleWrapKeyResponse'), { wrappedKey: bytes(1), tag: bytes(2) })
message(runtime('SubtleUnwrapKeyRequest'), { ...subtle, wrappedKey: bytes(2), ...sealed })
message(runtime('SubtleUnwrapKeyResponse'), { plaintextKey: bytes(1) })
message(runtime('SubtleSignRequest'), { ...subtle, digest: bytes(2) })
message(runtime('SubtleSignResponse'), { signature: bytes(1) })
message(runtime('SubtleVerifyRequest'), { ...subtle, digest: bytes(2), signature: bytes(5) })
message(runtime('SubtleVerifyResponse'), { valid: bool(1) })
