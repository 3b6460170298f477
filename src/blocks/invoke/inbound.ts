import type { App } from '../../app/app.ts'
import type { ResponseSink, ResponseSource } from '../../app/response-sink.ts'
import { OutriderError } from '../../errors.ts'
import { callApp } from '../../peers/app-call.ts'
import type { PeerServerOptions } from '../../peers/server.ts'
import type { InboundPolicies } from '../../policy/traffic/inbound.ts'
import { encodeGrpcMessage } from '../../transport/grpc/status.ts'
import { callUnderPolicy } from './under-policy.ts'

const NO_SOURCE: ResponseSource = { pause() {}, resume() {}, abort() {} }

/**
 * Calls of other sidecars to the app, under the policies of that direction. A call that a policy ends is answered as the app
 * would answer: other sidecars, daprd's too, hand that on unchanged.
 */
export function appUnderPolicy(policies: InboundPolicies): NonNullable<PeerServerOptions['inbound']> {
  return (caller, app, invocation, limit, sink) =>
    callUnderPolicy({
      policy: { runner: policies(caller), retries: false },
      invocation,
      sink: {
        head: (status, headers, source, answer) => sink.head(status, headers, source, answer),
        data: (chunk) => sink.data(chunk),
        end: () => sink.end(),
        failed: (error) => (error instanceof OutriderError ? answer(app, error, sink) : sink.failed(error)),
      },
      start: (again, attempt) => callApp(app, again, limit, attempt),
      wrap: (error) => (error instanceof Error ? error : new Error(String(error))),
      through: true,
    })
}

function answer(app: App, error: OutriderError, sink: ResponseSink): void {
  const { code, message, hint = '' } = error
  if (app.wire === 'grpc') {
    sink.head(error.grpc, {}, NO_SOURCE, { message, details: [], trailers: ['outrider-hint', encodeGrpcMessage(hint)], typeUrl: '' })
    return sink.end()
  }
  const body = Buffer.from(JSON.stringify({ errorCode: code, message }))
  const headers = { 'content-type': 'application/json', 'content-length': String(body.length), 'outrider-hint': encodeGrpcMessage(hint) }
  sink.head(error.http, headers, NO_SOURCE)
  sink.data(body)
  sink.end()
}
