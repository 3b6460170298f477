import { map, message, nested, repeated, string } from '../../transport/grpc/message.ts'

const PACKAGE = 'dapr.proto.components.v1'

const MetadataRequest = message(`${PACKAGE}.MetadataRequest`, { properties: map(1) })

/** Init of any service: the requests differ in name only. */
export const InitRequest = message(`${PACKAGE}.InitRequest`, { metadata: nested(1, MetadataRequest) })
export const FeaturesResponse = message(`${PACKAGE}.FeaturesResponse`, { features: repeated(string(1)) })
/** Every message without fields (InitResponse, PingRequest, PauseResponse, …). */
export const Nothing = message(`${PACKAGE}.PingRequest`, {})
