import type { GrpcChannel } from './grpc-channel.ts'
import type { HttpChannel } from './http-channel.ts'

/** The application beside us, over the one wire that `--app-protocol` names. */
export type App = { readonly wire: 'http'; readonly channel: HttpChannel } | { readonly wire: 'grpc'; readonly channel: GrpcChannel }
