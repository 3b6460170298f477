import { Code, type ErrorDetail, errorInfo, OutriderError } from '../../errors.ts'

type Metadata = Record<string, string> | null

/** Dapr sends every member of this detail, empty or not. */
function resource(name: string, description: string): ErrorDetail {
  return { '@type': 'type.googleapis.com/google.rpc.ResourceInfo', description, owner: '', resource_name: name, resource_type: 'pubsub' }
}

export function nameEmpty(metadata: Metadata): OutriderError {
  const message = 'pubsub name is empty'
  return new OutriderError({
    code: 'ERR_PUBSUB_EMPTY',
    http: 404,
    grpc: Code.InvalidArgument,
    message,
    hint: 'Name the pub/sub component to publish to.',
    details: [resource('', message), errorInfo('DAPR_PUBSUB_NAME_EMPTY', metadata)],
  })
}

export function notFound(pubsub: string, metadata: Metadata): OutriderError {
  return new OutriderError({
    code: 'ERR_PUBSUB_NOT_FOUND',
    http: 404,
    grpc: Code.InvalidArgument,
    message: `pubsub ${pubsub} is not found`,
    hint: 'GET /v1.0/metadata lists the components that are loaded; check the name and the scopes of the resource.',
    details: [errorInfo('DAPR_PUBSUB_NOT_FOUND', metadata)],
  })
}

export function topicEmpty(pubsub: string, metadata: Metadata): OutriderError {
  const message = `topic is empty in pubsub ${pubsub}`
  return new OutriderError({
    code: 'ERR_TOPIC_NAME_EMPTY',
    http: 404,
    grpc: Code.InvalidArgument,
    message,
    hint: 'Name the topic after the component: /v1.0/publish/PUBSUB/TOPIC.',
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_TOPIC_NAME_EMPTY', metadata)],
  })
}

export function badMetadata(pubsub: string, metadata: Record<string, string>, reason: string): OutriderError {
  const message = `failed deserializing metadata. Error: ${reason}`
  return new OutriderError({
    code: 'ERR_PUBSUB_REQUEST_METADATA',
    http: 400,
    grpc: Code.InvalidArgument,
    message,
    hint: 'rawPayload takes true or false.',
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_METADATA_DESERIALIZATION', metadata)],
  })
}

export function badCloudEvent(pubsub: string, appId: string, reason: string): OutriderError {
  const message = 'cannot create cloudevent'
  return new OutriderError({
    code: 'ERR_PUBSUB_CLOUD_EVENTS_SER',
    http: 500,
    grpc: Code.InvalidArgument,
    message,
    hint: 'A body sent as application/cloudevents+json must be one JSON object; send any other content type to have it wrapped.',
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_CLOUD_EVENT_CREATION', { appID: appId, error: reason })],
  })
}

function eventsSer(reason: string, pubsub: string, message: string, metadata: Record<string, string>, hint: string): OutriderError {
  return new OutriderError({
    code: 'ERR_PUBSUB_EVENTS_SER',
    http: 400,
    grpc: Code.InvalidArgument,
    message,
    hint,
    details: [resource(pubsub, message), errorInfo(reason, metadata)],
  })
}

export function badEntry(pubsub: string, topic: string, appId: string, reason: string): OutriderError {
  return eventsSer(
    'DAPR_PUBSUB_MARSHAL_ENVELOPE',
    pubsub,
    `error when marshalling cloud event envelope for topic ${topic} pubsub ${pubsub}: ${reason}`,
    { appID: appId, error: reason },
    'Give each entry a contentType that fits its event: text/* takes a string, application/json any value, application/octet-stream Base64.',
  )
}

export function badEntryId(pubsub: string, topic: string, appId: string): OutriderError {
  const reason = 'entryId is duplicated or not present for entry'
  return eventsSer(
    'DAPR_PUBSUB_MARSHAL_EVENTS',
    pubsub,
    `error marshaling events to bytes for topic ${topic} pubsub ${pubsub}. error: ${reason}`,
    { appID: appId, error: reason },
    'Give each entry an entryId of its own.',
  )
}

export function badEntries(pubsub: string, topic: string, appId: string, reason: string): OutriderError {
  return eventsSer(
    'DAPR_PUBSUB_UNMARSHAL_EVENTS',
    pubsub,
    `error when unmarshaling the request for topic ${topic} pubsub ${pubsub}: ${reason}`,
    { appID: appId },
    'The body is an array of {entryId, event, contentType, metadata}.',
  )
}

export function forbidden(pubsub: string, topic: string, appId: string): OutriderError {
  const message = `topic ${topic} is not allowed for app id ${appId}`
  return new OutriderError({
    code: 'ERR_PUBSUB_FORBIDDEN',
    http: 403,
    grpc: Code.PermissionDenied,
    message,
    hint: `See allowedTopics, protectedTopics and publishingScopes of component ${pubsub}.`,
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_FORBIDDEN', { topic, error: message })],
  })
}

/** The broker cannot be reached, and the events that wait for it leave no room for this one. */
export function storeFull(pubsub: string, topic: string, maxBytes: number, policy: string, reason: string, cause: unknown): OutriderError {
  const message = `error when publishing to topic ${topic} in pubsub ${pubsub}: the broker cannot be reached, and the ${maxBytes} bytes for events that wait for it are taken: ${reason}`
  return new OutriderError({
    code: 'ERR_PUBSUB_STORE_FULL',
    http: 503,
    grpc: Code.Unavailable,
    message,
    hint: `bring the broker back or raise maxBytes of StoreAndForward ${policy}, then publish the event again: it was not accepted`,
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_PUBLISH_MESSAGE', { topic, error: reason })],
    retryable: true,
    cause,
  })
}

export function publishFailed(pubsub: string, topic: string, reason: string, cause: unknown, advice?: string): OutriderError {
  const message = `error when publishing to topic ${topic} in pubsub ${pubsub}: ${reason}`
  return new OutriderError({
    code: 'ERR_PUBSUB_PUBLISH_MESSAGE',
    // A body over the limit is the caller's to mend; daprd answers 500 there too.
    http: cause instanceof OutriderError && cause.http === 413 ? 413 : 500,
    grpc: Code.Internal,
    message,
    hint: 'The broker did not take the event; it may be published again.',
    details: [resource(pubsub, message), errorInfo('DAPR_PUBSUB_PUBLISH_MESSAGE', { topic, error: reason })],
    retryable: true,
    cause,
    // Not the broker's doing: publishing the same again would fail the same way.
    ...(advice !== undefined && { hint: advice, retryable: false }),
  })
}
