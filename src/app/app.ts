import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import type { GrpcChannel } from './grpc-channel.ts'
import type { HttpChannel } from './http-channel.ts'

interface Watched {
  /** Whether the app may be called; left out when nobody asks for its health. */
  healthy?: (() => boolean) | undefined
}

/** The application beside us, over the one wire that `--app-protocol` names. */
export type App = Watched &
  ({ readonly wire: 'http'; readonly channel: HttpChannel } | { readonly wire: 'grpc'; readonly channel: GrpcChannel })

/** Throws GrpcStatus Internal while the app's health check fails. */
export function requireHealthy(app: App): void {
  if (app.healthy?.() === false) throw new GrpcStatus(Code.Internal, 'app is not in a healthy state')
}
