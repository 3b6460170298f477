import { stat } from 'node:fs/promises'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { Component, ComponentContext, DriverModule } from '../component.ts'
import { PluggableBinding } from './bindings.ts'
import { PluggablePubSub } from './pubsub.ts'
import { listServices } from './reflection.ts'
import { PluggableSecrets } from './secrets.ts'
import { PluggableState } from './state.ts'

const PACKAGE = 'dapr.proto.components.v1.'
/** How long a server may take to say what it serves, milliseconds. */
const PROBE_TIMEOUT = 10_000

type Create = (context: ComponentContext) => Component

/**
 * The driver of one block that the server behind a socket serves; undefined when it serves none for that block, or when the
 * path is no socket. Rejects with an Error naming the socket when it does not answer.
 * @param block what a component type begins with: state, pubsub, bindings, secretstores
 */
export async function pluggableDriver(block: string, socket: string, log: Logger): Promise<DriverModule | undefined> {
  if (!(await stat(socket)).isSocket()) {
    log.warn(`could not use socket for file ${socket}: it is no socket; remove it from the sockets folder`)
    return undefined
  }
  const services = await probe(socket)
  const has = (service: string) => services.includes(PACKAGE + service)
  const create = driverOf(block, socket, has)
  if (!create) return undefined
  log.info(`pluggable component behind ${socket} found for ${block}`)
  return { summary: `Served by the process behind ${socket}.`, metadata: [], create }
}

function driverOf(block: string, socket: string, has: (service: string) => boolean): Create | undefined {
  switch (block) {
    case 'state':
      return has('StateStore') ? (context) => new PluggableState(socket, context) : undefined
    case 'pubsub':
      return has('PubSub') ? (context) => new PluggablePubSub(socket, context) : undefined
    case 'secretstores':
      return has('SecretStore') ? (context) => new PluggableSecrets(socket, context) : undefined
    case 'bindings': {
      const services = { input: has('InputBinding'), output: has('OutputBinding') }
      return services.input || services.output ? (context) => new PluggableBinding(socket, services, context) : undefined
    }
    default:
      return undefined
  }
}

async function probe(socket: string): Promise<string[]> {
  await using client = createGrpcClient({ idleTimeout: 0 })
  const late = AbortSignal.timeout(PROBE_TIMEOUT)
  try {
    return await listServices(client, `unix:${socket}`, late)
  } catch (error) {
    const unknown = error instanceof GrpcStatus && error.code === Code.Unimplemented
    const reason = late.aborted ? `timed out after ${PROBE_TIMEOUT / 1000} s` : messageOf(unknown ? error : rootOf(error))
    const advice = unknown ? 'serve gRPC server reflection there' : 'start its process, or remove the socket file if it has gone for good'
    throw new Error(`the pluggable component behind ${socket} cannot be asked what it serves: ${reason}; ${advice}`, { cause: error })
  }
}

/** What was wrong in the first place, e.g. that a connection was refused. */
function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? rootOf(error.cause) : error
}
