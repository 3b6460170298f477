import type { App } from '../app/app.ts'
import { Code, messageOf } from '../errors.ts'
import type { Authorize } from '../policy/access-control.ts'
import type { GrpcCall } from '../transport/grpc/server.ts'
import { describeStatus, GrpcStatus } from '../transport/grpc/status.ts'
import { callApp } from './app-call.ts'
import { bodyLength, headerOf } from './headers.ts'
import { type Invocation, MethodError, normalizeGrpcMethod, normalizeMethod } from './invocation.ts'
import type { IncomingRequest } from './messages.ts'
import { type CallObserver, callerSpan, observedCall } from './observed-call.ts'

export const DEFAULT_LIMIT: number = 4 * 1024 * 1024

/** What calls of other sidecars to our app need. */
export interface CalleeOptions {
  /** Without one every call answers `app channel is not initialized`. */
  app?: App | undefined
  appId: string
  /** Bytes of one message and of a unary reply. Default 4 MiB. */
  maxMessageSize?: number
  /** Access control; the method is normalised already. */
  authorize?: Authorize | undefined
  /** Calls the app in place of `callApp`, under policies. `caller`: see InboundPolicies. */
  inbound?: ((caller: string, ...call: Parameters<typeof callApp>) => ReturnType<typeof callApp>) | undefined
  /** Hears of each call to the app. */
  observer?: CallObserver | undefined
}

/** A call that may be made, and how it reaches the app. */
export interface Admitted {
  app: App
  invocation: Invocation
  caller: string
  inbound: CalleeOptions['inbound']
}

/** How an admitted call is made: under its policies, and heard of. */
export function toApp(
  { observer, appId }: CalleeOptions,
  { inbound, caller }: Pick<Admitted, 'inbound' | 'caller'>,
  api: string,
): typeof callApp {
  return (app, invocation, limit, sink) => {
    const reply = observer ? observedCall(observer, appId, api, invocation, sink) : sink
    return inbound ? inbound(caller, app, invocation, limit, reply) : callApp(app, invocation, limit, reply)
  }
}

/** What cannot be read is the caller's fault. */
export function parse<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof GrpcStatus
      ? error
      : new GrpcStatus(Code.InvalidArgument, `parsing InternalInvokeRequest error: ${messageOf(error)}`)
  }
}

/** As daprd tells that the app could not be called. */
export function appFailure(error: unknown): GrpcStatus {
  const text = error instanceof GrpcStatus ? describeStatus(error) : messageOf(error)
  return new GrpcStatus(Code.Internal, `error invoking app channel: ${text}`, { cause: error })
}

/** Throws GrpcStatus for a call that may not be made. */
export function admit(options: CalleeOptions, request: IncomingRequest, call: Pick<GrpcCall, 'headers' | 'peer'>): Admitted {
  const { app, inbound } = options
  if (!app) throw new GrpcStatus(Code.Internal, 'app channel is not initialized')
  let method: string
  try {
    method = app.wire === 'grpc' ? normalizeGrpcMethod(request.method) : normalizeMethod(request.method)
  } catch (error) {
    throw error instanceof MethodError ? new GrpcStatus(Code.InvalidArgument, error.message) : error
  }
  const { metadata } = request
  options.authorize?.({ method, verb: request.verb, http: app.wire === 'http', peer: call.peer })
  for (const name of ['traceparent', 'tracestate']) {
    const value = call.headers[name]
    if (typeof value === 'string' && headerOf(metadata, name) === undefined) metadata.push(name, value)
  }
  return {
    app,
    inbound,
    caller: inbound ? (call.peer?.uri ?? headerOf(metadata, 'dapr-caller-app-id') ?? '') : '',
    invocation: {
      verb: request.verb,
      method,
      query: request.query,
      headers: metadata,
      internal: true,
      contentType: request.contentType,
      typeUrl: request.typeUrl,
      length: bodyLength(metadata),
      body: undefined,
      ...(options.observer?.tracer && { calledBy: callerSpan(call.headers) }),
    },
  }
}
