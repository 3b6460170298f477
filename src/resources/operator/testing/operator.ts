import { generateKeyPairSync, type X509Certificate } from 'node:crypto'
import { frame } from '../../../transport/grpc/frames.ts'
import { createGrpcServer, type GrpcMethod, type GrpcStream, unary } from '../../../transport/grpc/server.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import { spiffeIdOf } from '../../../transport/identity/spiffe.ts'
import type { TestAuthority } from '../../../transport/identity/testing/authority.ts'
import { EventType, GET_CONFIGURATION, OPERATOR_KINDS, type OperatorKind, type OperatorKindName } from '../messages.ts'

export interface TestOperator extends AsyncDisposable {
  /** host:port. */
  readonly address: string
  /** SPIFFE ids of those who asked, and the namespaces they asked for. */
  readonly callers: Set<string>
  /** Streams that stand now. */
  readonly streams: number
  /** Makes or changes a resource, and tells it unless `silent`. */
  put(kind: OperatorKindName, resource: { metadata: { name: string } } & Record<string, unknown>, silent?: boolean): void
  remove(kind: OperatorKindName, name: string): void
  /** Sends bytes that are no resource. */
  garble(kind: OperatorKindName): void
  /** Ends every connection, and takes no more until `open`. */
  close(): Promise<void>
  open(): Promise<void>
}

/** An operator's API over what the test puts into it, with an identity of that authority. */
export async function startOperator(authority: TestAuthority, id = 'spiffe://localhost/ns/default/dapr-operator'): Promise<TestOperator> {
  const resources = new Map<OperatorKindName, Map<string, Record<string, unknown>>>()
  const streams = new Map<OperatorKindName, Set<GrpcStream>>()
  const callers = new Set<string>()
  const of = (kind: OperatorKindName) => {
    const found = resources.get(kind) ?? new Map()
    resources.set(kind, found)
    return found
  }
  const bytes = (resource: unknown) => Buffer.from(JSON.stringify(resource))
  const tell = (kind: OperatorKindName, resource: Buffer, type: number) => {
    const event = frame((OPERATOR_KINDS[kind] as OperatorKind).updates.event.encode({ resource, type }))
    for (const stream of streams.get(kind) ?? []) stream.write(event)
  }
  const methods = new Map<string, GrpcMethod>()
  for (const [name, { list, updates }] of Object.entries(OPERATOR_KINDS) as [OperatorKindName, OperatorKind][]) {
    if (list)
      methods.set(
        list.path,
        unary(list.request.decode, list.reply.encode, ({ namespace }, call) => {
          callers.add(`${call.peer?.uri} ${namespace}`)
          return { items: [...of(name).values()].map(bytes) }
        }),
      )
    methods.set(updates.path, {
      kind: 'stream',
      handle(stream) {
        const set = streams.get(name) ?? new Set()
        streams.set(name, set.add(stream))
        stream.onMessage = () => {}
        stream.onClose = () => void set.delete(stream)
      },
    })
  }
  methods.set(
    GET_CONFIGURATION.path,
    unary(GET_CONFIGURATION.request.decode, GET_CONFIGURATION.reply.encode, ({ name }) => {
      const found = of('Configuration').get(name)
      if (!found) throw new GrpcStatus(2, `error getting configuration: configurations.dapr.io "${name}" not found`)
      return { configuration: bytes(found) }
    }),
  )
  const pair = generateKeyPairSync('ed25519')
  const tls = { key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, cert: authority.issue(id, pair.publicKey) }
  let server: ReturnType<typeof createGrpcServer>
  let port = 0
  const open = async () => {
    server = createGrpcServer({ methods })
    port = await server.listen({
      host: '127.0.0.1',
      port,
      mutual: {
        options: { ...tls, ca: authority.root, requestCert: true, rejectUnauthorized: true },
        identify: (socket) => spiffeIdOf(socket.getPeerX509Certificate() as X509Certificate),
        follow: () => ({ [Symbol.dispose]: () => {} }),
      },
    })
  }
  await open()
  return {
    get address() {
      return `127.0.0.1:${port}`
    },
    get streams() {
      return [...streams.values()].reduce((sum, set) => sum + set.size, 0)
    },
    callers,
    put(kind, resource, silent) {
      const type = of(kind).has(resource.metadata.name) ? EventType.UPDATED : EventType.CREATED
      of(kind).set(resource.metadata.name, resource)
      if (!silent) tell(kind, bytes(resource), type)
    },
    remove(kind, name) {
      const gone = of(kind).get(name)
      of(kind).delete(name)
      tell(kind, bytes(gone), EventType.DELETED)
    },
    garble: (kind) => tell(kind, Buffer.from('{"metadata":'), EventType.UPDATED),
    close: () => server.close(0),
    open,
    [Symbol.asyncDispose]: () => server.close(0),
  }
}
