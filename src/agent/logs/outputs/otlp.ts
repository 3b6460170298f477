import { Code } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { createGrpcClient } from '../../../transport/grpc/client.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import type { RoleContext } from '../../role.ts'
import type { OtlpSpec } from '../spec.ts'
import { milliseconds, secretOf, tlsOptions } from '../values.ts'
import { encodeLogs, type OtlpFields, rejectedLogs } from './otlp-message.ts'
import { NONE, RefusedError, type Sink } from './sink.ts'
import { Web } from './web.ts'

const EXPORT = '/opentelemetry.proto.collector.logs.v1.LogsService/Export'

/** OTLP logs, protobuf over HTTP or gRPC. A collector that takes some of a batch does not tell which: that is logged. */
export async function openOtlp(spec: OtlpSpec, where: string, context: RoleContext): Promise<Sink> {
  const fields: OtlpFields = {
    resource: { 'service.name': context.appId, ...spec.resource },
    bodyField: spec.bodyField ?? 'message',
    severityField: spec.severityField ?? 'level',
  }
  return spec.protocol === 'grpc' ? overGrpc(spec, fields, where, context) : overHttp(spec, fields, where, context)
}

async function overHttp(spec: OtlpSpec, fields: OtlpFields, where: string, context: RoleContext): Promise<Sink> {
  const url = new URL(/^https?:/.test(spec.endpoint) ? spec.endpoint : `http://${spec.endpoint}`)
  if (url.pathname === '/') url.pathname = '/v1/logs'
  const web = await Web.open([url.href], spec, where, context)
  return {
    async send(events, signal) {
      const reply = await web.send({ method: 'POST', contentType: 'application/x-protobuf', body: encodeLogs(events, fields), signal })
      tell(reply.body, where, context.log)
      return NONE
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  }
}

/** Statuses after which the same events are not taken either. */
const FOR_GOOD: ReadonlySet<number> = new Set([Code.InvalidArgument, Code.OutOfRange, Code.Unimplemented])

async function overGrpc(spec: OtlpSpec, fields: OtlpFields, where: string, context: RoleContext): Promise<Sink> {
  const headers: Record<string, string> = {}
  for (const [name, secret] of Object.entries(spec.headers ?? {}))
    headers[name.toLowerCase()] = (await secretOf(secret, `${where}.headers.${name}`, context)) ?? ''
  const client = createGrpcClient({ ...(spec.secure && { tls: { ALPNProtocols: ['h2'], ...tlsOptions(spec.tls) } }) })
  return {
    async send(events, signal) {
      try {
        const reply = await client.unary(spec.endpoint, EXPORT, encodeLogs(events, fields), {
          headers,
          timeout: milliseconds(spec.requestTimeout, 30_000),
          signal,
        })
        tell(reply, where, context.log)
        return NONE
      } catch (error) {
        const message = `${spec.endpoint}: ${error instanceof Error ? error.message : String(error)}`
        if (error instanceof GrpcStatus && FOR_GOOD.has(error.code)) throw new RefusedError(message)
        throw new Error(message, { cause: error })
      }
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

function tell(reply: Buffer, where: string, log: Logger): void {
  const { count, reason } = rejectedLogs(reply)
  if (count > 0) log.warn(`${where}: the collector has thrown ${count} events away: ${reason}`)
}
