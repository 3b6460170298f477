import { Code } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { enumeration, message, string } from '../../transport/grpc/message.ts'
import { decodeRequest, type GrpcStream, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { DAPR, type GrpcMethods } from './method.ts'

/** grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md */

const SERVICE = '/grpc.health.v1.Health/'
const SERVING = 1
const NOT_SERVING = 2
const SERVICE_UNKNOWN = 3

const ServingStatus = {
  fullName: 'grpc.health.v1.HealthCheckResponse.ServingStatus',
  values: { 0: 'UNKNOWN', 1: 'SERVING', 2: 'NOT_SERVING', 3: 'SERVICE_UNKNOWN' },
}
const HealthCheckRequest = message('grpc.health.v1.HealthCheckRequest', { service: string(1) })
const HealthCheckResponse = message('grpc.health.v1.HealthCheckResponse', { status: enumeration(1, ServingStatus) })

export interface HealthSource {
  /** What is not ready yet; empty when ready. */
  notReady(): readonly string[]
}

/** How often a watched state is looked at, in milliseconds; only while somebody watches. */
const LOOK = 500

/** Whether a path is the health service's: probes cannot send a token. */
export function isHealth(path: string): boolean {
  return path.startsWith(SERVICE)
}

/** Check and Watch for the whole server (`""`) and for the Dapr service, which are ready together. */
export function healthMethods(health: HealthSource): GrpcMethods {
  const known = new Set(['', DAPR.slice(1, -1), SERVICE.slice(1, -1)])
  const current = () => (health.notReady().length === 0 ? SERVING : NOT_SERVING)
  const watchers = new Set<() => void>()
  let timer: NodeJS.Timeout | undefined

  const watch = (stream: GrpcStream, service: string) => {
    const state = () => (stream.draining.aborted ? NOT_SERVING : known.has(service) ? current() : SERVICE_UNKNOWN)
    let last = -1
    const tell = () => {
      const status = state()
      if (status === last) return
      last = status
      stream.write(frame(HealthCheckResponse.encode({ status })))
    }
    const drained = () => {
      tell()
      stream.fail(new GrpcStatus(Code.Unavailable, 'the sidecar is shutting down'))
    }
    stream.onClose = () => {
      watchers.delete(tell)
      stream.draining.removeEventListener('abort', drained)
      if (watchers.size === 0) {
        clearInterval(timer)
        timer = undefined
      }
    }
    tell()
    watchers.add(tell)
    stream.draining.addEventListener('abort', drained)
    timer ??= setInterval(() => {
      for (const one of watchers) one()
    }, LOOK).unref()
  }

  return [
    [
      `${SERVICE}Check`,
      {
        ...unary(HealthCheckRequest.decode, HealthCheckResponse.encode, ({ service }) => {
          if (!known.has(service)) throw new GrpcStatus(Code.NotFound, 'unknown service')
          return { status: current() }
        }),
        types: { request: HealthCheckRequest, response: HealthCheckResponse },
      },
    ],
    [
      `${SERVICE}Watch`,
      {
        kind: 'stream',
        handle(stream) {
          stream.onMessage = (bytes) => {
            stream.onMessage = undefined
            const request = decodeRequest(HealthCheckRequest.decode, bytes)
            watch(stream, request.service)
          }
        },
        types: { request: HealthCheckRequest, response: HealthCheckResponse, serverStreams: true },
      },
    ],
  ]
}
