import { message } from '../../transport/grpc/message.ts'

/** Dapr answers with it where there is nothing to tell. */
export const Empty = message('google.protobuf.Empty', {})
