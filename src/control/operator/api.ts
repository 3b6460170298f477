import { Empty } from '../../api/grpc/empty.ts'
import { Code, messageOf } from '../../errors.ts'
import {
  type FollowedName,
  followedKind,
  GET_CONFIGURATION,
  OPERATOR_KINDS,
  type OperatorKindName,
  OWN_GROUP,
} from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { bytes, message, repeated, string } from '../../transport/grpc/message.ts'
import { decodeRequest, type GrpcCall, type GrpcMethod, type GrpcStream, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { SpiffeId } from '../../transport/identity/spiffe.ts'
import type { Informer, KubeObject } from '../informer.ts'
import { withSecrets } from './resolve.ts'
import type { SecretReader } from './secrets.ts'
import { isFor, UpdateStreams } from './update-streams.ts'

const SERVICE = '/dapr.proto.operator.v1.Operator/'
const PACKAGE = 'dapr.proto.operator.v1.'
const GetResiliencyRequest = message(`${PACKAGE}GetResiliencyRequest`, { name: string(1), namespace: string(2) })
const GetResiliencyResponse = message(`${PACKAGE}GetResiliencyResponse`, { resiliency: bytes(1) })
const ListSubscriptionsResponse = message(`${PACKAGE}ListSubscriptionsV1Response`, { subscriptions: repeated(bytes(1)) })

export interface OperatorApiOptions {
  informers: Readonly<Record<OperatorKindName, Informer>>
  /** Resources of outrider.dev. */
  own: Pick<Informer, 'values' | 'subscribe'>
  secrets: SecretReader
  /** The Configuration that an app's pods name; empty: none. */
  configurationOf(namespace: string, appId: string): string
  log: Logger
}

/** Dapr's operator API: what a namespace has for an app, and what changes of it. */
export class OperatorApi {
  readonly methods = new Map<string, GrpcMethod>()
  readonly #options: OperatorApiOptions
  readonly #streams: readonly UpdateStreams[]
  /** JSON of objects that refer to no secret: the same for each of a thousand pods. */
  readonly #texts = new WeakMap<KubeObject, Buffer>()

  constructor(options: OperatorApiOptions) {
    this.#options = options
    this.#streams = [...(Object.keys(OPERATOR_KINDS) as OperatorKindName[]), OWN_GROUP].map((kind) => this.#serve(kind as FollowedName))
    this.#get(GET_CONFIGURATION.path, 'Configuration', GET_CONFIGURATION.request.decode, (configuration) =>
      GET_CONFIGURATION.reply.encode({ configuration }),
    )
    this.#get(`${SERVICE}GetResiliency`, 'Resiliency', GetResiliencyRequest.decode, (resiliency) =>
      GetResiliencyResponse.encode({ resiliency }),
    )
    // Names no namespace, so nobody may have what lies in it.
    const none = unary(Empty.decode, ListSubscriptionsResponse.encode, (_, call) => {
      authorise(call, '')
      return {}
    })
    this.methods.set(`${SERVICE}ListSubscriptions`, none)
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.reduce((sum, { size }) => sum + size, 0)
  }

  #serve(kind: FollowedName): UpdateStreams {
    const { informers, own, secrets, log } = this.#options
    const informer = kind === OWN_GROUP ? own : informers[kind]
    const { list, updates } = followedKind(kind)
    const streams = new UpdateStreams(kind, informer, (object) => withSecrets(kind, object, secrets), log)
    if (list) {
      const method = unary(list.request.decode, list.reply.encode, async ({ namespace }, call) => {
        const { appId } = authorise(call, namespace)
        const wanted = [...informer.values()].filter((object) => object.metadata.namespace === namespace && isFor(object, appId))
        return { items: await Promise.all(wanted.map((object) => this.#text(kind, object))) }
      })
      this.methods.set(list.path, method)
    }
    this.methods.set(updates.path, {
      kind: 'stream',
      handle: (stream) => {
        stream.onMessage = (bytes) => {
          stream.onMessage = undefined
          try {
            this.#open(kind, streams, stream, decodeRequest(updates.request.decode, bytes).namespace)
          } catch (error) {
            stream.fail(error)
          }
        }
      },
    })
    return streams
  }

  #open(kind: FollowedName, streams: UpdateStreams, stream: GrpcStream, namespace: string): void {
    const { appId } = authorise(stream, namespace)
    if (kind !== 'Configuration') return streams.add({ namespace, appId, stream })
    // A sidecar does not say itself which one it has: others than its own would only restart it.
    const wants = ({ metadata }: KubeObject) => metadata.name === this.#options.configurationOf(namespace, appId)
    streams.add({ namespace, appId, stream, wants })
  }

  #get(
    path: string,
    kind: 'Configuration' | 'Resiliency',
    decode: (message: Buffer) => { name: string; namespace: string },
    encode: (text: Buffer) => Buffer,
  ): void {
    const method = unary(decode, encode, async ({ name, namespace }, call) => {
      authorise(call, namespace)
      const found = this.#options.informers[kind].get(namespace, name)
      if (!found)
        throw new GrpcStatus(Code.NotFound, `error getting ${kind.toLowerCase()} ${namespace}/${name}: there is no ${kind} of this name`)
      return this.#text(kind, found)
    })
    this.methods.set(path, method)
  }

  async #text(kind: FollowedName, object: KubeObject): Promise<Buffer> {
    const known = this.#texts.get(object)
    if (known) return known
    let whole: KubeObject
    try {
      whole = await withSecrets(kind, object, this.#options.secrets)
    } catch (error) {
      const { namespace, name } = object.metadata
      throw new GrpcStatus(Code.Unknown, `error processing ${kind} ${namespace}/${name} secrets: ${messageOf(error)}`)
    }
    const text = Buffer.from(JSON.stringify(whole))
    if (whole === object) this.#texts.set(object, text)
    return text
  }
}

/** A sidecar sees its own namespace alone. */
function authorise(call: GrpcCall, namespace: string): SpiffeId {
  const { peer } = call
  if (!peer) throw new GrpcStatus(Code.PermissionDenied, 'failed to determine identity')
  if (namespace === '' || peer.namespace !== namespace) {
    const text = `identity does not match requested namespace exp=${namespace} got=${peer.namespace}`
    throw new GrpcStatus(Code.PermissionDenied, text)
  }
  return peer
}
