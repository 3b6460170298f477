import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { admit } from './admission.ts'
import { discovery } from './discovery.ts'
import { certificates, list, notFound, patched, read, verbOf, warningHeaders } from './exchange.ts'
import { applyMergePatch } from './patches.ts'
import { BUILT_IN, collectionPath, type ObjectPath, parsePath, type Resource } from './paths.ts'
import { isAllowed, type User } from './rbac.ts'
import { fieldMatcher, labelMatcher } from './selectors.ts'
import { type ApiObject, ObjectStore, StoreError } from './store.ts'
import { serveWatch } from './watch.ts'

export interface ApiServerOptions {
  /** Where a service of the cluster really listens; webhooks are called there. */
  resolve?: (namespace: string, service: string, port: number) => { host: string; port: number } | undefined
  /** Milliseconds after which a watch is ended; default: when its client's timeoutSeconds are over. */
  watchLife?: number
  /** Default 127.0.0.1. */
  host?: string
  port?: number
}

/** The part of the Kubernetes API that the control plane uses, over HTTP/2 and HTTP/1.1 with TLS, on a real socket. */
export interface ApiServer extends AsyncDisposable {
  readonly port: number
  /** PEM of what its certificate leads to. */
  readonly ca: string
  readonly store: ObjectStore
  /** Requests so far by `VERB group/plural`. */
  readonly requests: Map<string, number>
  watchLife: number | undefined
  /** Path of a kubeconfig for a user; default: one who may do everything. */
  kubeconfig(username?: string): string
  /** A token as a service account's pod gets it. */
  token(namespace: string, serviceAccount: string, audiences?: readonly string[], pod?: string): string
  /** Does as a client would. */
  apply(
    object: Omit<ApiObject, 'metadata'> & { metadata: Partial<ApiObject['metadata']> },
    user?: User,
  ): Promise<{ object: ApiObject; warnings: string[] }>
  collection(kind: string): Resource
  /** Breaks all connections and refuses new ones, until `open`. */
  close(): Promise<void>
  open(): Promise<void>
}

export const ADMIN: User = { username: 'admin', groups: ['system:masters', 'system:authenticated'] }

interface Token {
  user: User
  audiences: readonly string[]
}

export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-api-'))
  const store = new ObjectStore()
  const tokens = new Map<string, Token>()
  const requests = new Map<string, number>()
  const host = options.host ?? '127.0.0.1'
  const { ca, cert, key } = certificates(host)
  const resolve = options.resolve ?? (() => undefined)

  const resources = (): Resource[] => [
    ...BUILT_IN,
    ...store.list('apiextensions.k8s.io/customresourcedefinitions').map(({ spec }) => ({
      group: spec.group as string,
      plural: spec.names.plural as string,
      kind: spec.names.kind as string,
      namespaced: spec.scope === 'Namespaced',
    })),
  ]
  const resourceOf = ({ group, plural }: Pick<ObjectPath, 'group' | 'plural'>) =>
    resources().find((each) => each.group === group && each.plural === plural)

  async function create(resource: Resource, object: ApiObject, user: User): Promise<{ object: ApiObject; warnings: string[] }> {
    const { group, plural, namespaced } = resource
    if (namespaced && !store.get('/namespaces', undefined, object.metadata.namespace ?? ''))
      throw new StoreError(404, 'NotFound', `namespaces "${object.metadata.namespace}" not found`)
    // Admission comes before the name is made of generateName.
    const named = structuredClone(object)
    // As every API server does.
    if (plural === 'namespaces') named.metadata.labels = { ...named.metadata.labels, 'kubernetes.io/metadata.name': named.metadata.name }
    const admitted = await admit({ store, resolve }, group, plural, named, user)
    return { object: store.create(`${group}/${plural}`, admitted.object), warnings: admitted.warnings }
  }

  async function handle(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const url = new URL(request.url, 'https://kubernetes')
    const reply = (status: number, body: unknown, headers: Record<string, string | string[]> = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(JSON.stringify(body))
    }
    try {
      const user = authenticate(request)
      const body = await read(request)
      if (url.pathname === '/healthz' || url.pathname === '/readyz') return void response.end('ok')
      const known = discovery(url.pathname, resources())
      if (known) return reply(200, known)
      if (url.pathname === '/apis/authentication.k8s.io/v1/tokenreviews') {
        must(user, { verb: 'create', group: 'authentication.k8s.io', resource: 'tokenreviews', namespace: undefined, name: undefined })
        return reply(201, tokenReview(body as ApiObject))
      }
      const path = parsePath(url.pathname)
      const resource = path && resourceOf(path)
      if (!path || !resource) throw new StoreError(404, 'NotFound', 'the server could not find the requested resource')
      const watching = ['true', '1'].includes(url.searchParams.get('watch') ?? '')
      const verb = verbOf(request.method, path, watching)
      const counted = `${verb} ${path.group}/${path.plural}`
      requests.set(counted, (requests.get(counted) ?? 0) + 1)
      must(user, {
        verb,
        group: path.group,
        resource: path.subresource ? `${path.plural}/${path.subresource}` : path.plural,
        namespace: path.namespace,
        name: path.name,
      })
      const collection = `${path.group}/${path.plural}`
      const apiVersion = path.group === '' ? path.version : `${path.group}/${path.version}`
      const typed = (object: ApiObject) => ({ ...object, apiVersion, kind: resource.kind })
      const label = labelMatcher(url.searchParams.get('labelSelector'))
      const field = fieldMatcher(url.searchParams.get('fieldSelector'))
      const matches = (object: ApiObject) =>
        (path.namespace === undefined || object.metadata.namespace === path.namespace) &&
        (path.name === undefined || object.metadata.name === path.name) &&
        label(object) &&
        field(object)
      const partial = (request.headers.accept ?? '').includes('as=PartialObjectMetadata')
      const shown = (object: ApiObject) =>
        partial ? { apiVersion: 'meta.k8s.io/v1', kind: 'PartialObjectMetadata', metadata: object.metadata } : typed(object)
      if (verb === 'watch') return serveWatch(url, response, store, { collection, matches, shown, life: () => api.watchLife })
      if (verb === 'list') return reply(200, list(url, store.list(collection).filter(matches), shown, apiVersion, resource))
      if (verb === 'get') {
        const found = store.get(collection, path.namespace, path.name as string)
        if (!found) throw notFound(path)
        if (path.subresource === 'log') return void response.end(String(found.log ?? ''))
        return reply(200, shown(found))
      }
      if (verb === 'delete') return reply(200, store.delete(collection, path.namespace, path.name as string))
      if (verb === 'create') {
        const given = body as ApiObject
        const made = await create(
          resource,
          { ...typed(given), metadata: { ...given.metadata, ...(path.namespace && { namespace: path.namespace }) } },
          user,
        )
        return reply(201, made.object, warningHeaders(made.warnings))
      }
      const old = store.get(collection, path.namespace, path.name as string)
      const type = request.headers['content-type']?.split(';')[0]
      const next = verb === 'update' ? (body as ApiObject) : patched(old, type, body, path)
      const placed: ApiObject = {
        ...typed(next),
        metadata: { ...next.metadata, name: path.name as string, ...(path.namespace && { namespace: path.namespace }) },
      }
      if (!old) return reply(201, (await create(resource, placed, user)).object)
      return reply(200, store.update(collection, path.subresource === 'status' ? { ...old, status: placed.status } : placed))
    } catch (error) {
      const { status = 500, reason = 'InternalError', message } = error as StoreError
      if (!response.headersSent) reply(status, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code: status })
      else response.destroy()
    }
  }

  function must(user: User, wish: Parameters<typeof isAllowed>[2]): void {
    if (isAllowed(store, user, wish)) return
    const where = wish.namespace ? ` in the namespace "${wish.namespace}"` : ' at the cluster scope'
    throw new StoreError(
      403,
      'Forbidden',
      `${wish.resource}${wish.group ? `.${wish.group}` : ''}${wish.name ? ` "${wish.name}"` : ''} is forbidden: User "${user.username}" cannot ${wish.verb} resource "${wish.resource}" in API group "${wish.group}"${where}`,
    )
  }

  function authenticate(request: Http2ServerRequest): User {
    const [, bearer] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
    const token = bearer === undefined ? undefined : tokens.get(bearer)
    if (!token || (token.audiences.length > 0 && !token.audiences.includes('api')))
      throw new StoreError(401, 'Unauthorized', 'Unauthorized')
    return token.user
  }

  function tokenReview({ spec }: ApiObject): unknown {
    const token = tokens.get(spec.token)
    const wanted = (spec.audiences ?? ['api']) as string[]
    const audiences = token ? (token.audiences.length === 0 ? ['api'] : token.audiences).filter((each) => wanted.includes(each)) : []
    const status =
      token && audiences.length > 0
        ? { authenticated: true, user: token.user, audiences }
        : { authenticated: false, user: {}, error: '[invalid bearer token, token lookup failed]' }
    return { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', metadata: {}, spec, status }
  }

  function issue(user: User, audiences: readonly string[] = [], pod?: string): string {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const claims = { aud: audiences, jti: randomUUID(), sub: user.username, ...(pod && { 'kubernetes.io': { pod: { name: pod } } }) }
    const token = `${part({ alg: 'none' })}.${part(claims)}.c3RhbmQtaW4`
    tokens.set(token, { user, audiences })
    return token
  }

  let server: ReturnType<typeof createSecureServer>
  let port = options.port ?? 0
  const sessions = new Set<{ destroy(): void }>()
  const open = async () => {
    server = createSecureServer({ key, cert, allowHTTP1: true }, (request, response) => void handle(request, response))
    server.on('session', (session) => {
      sessions.add(session)
      session.on('close', () => sessions.delete(session))
    })
    server.on('secureConnection', (socket) => {
      sessions.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sessions.delete(socket))
    })
    await new Promise<void>((done, reject) => server.once('error', reject).listen(port, host, done))
    port = (server.address() as AddressInfo).port
  }
  const close = async () => {
    const closed = new Promise<void>((done) => server.close(() => done()))
    for (const session of sessions) session.destroy()
    await closed
  }
  await open()

  const api: ApiServer = {
    get port() {
      return port
    },
    ca,
    store,
    requests,
    watchLife: options.watchLife,
    kubeconfig(username) {
      const user = username === undefined ? ADMIN : { username, groups: ['system:authenticated'] }
      const path = join(folder, `kubeconfig-${Math.random().toString(36).slice(2)}`)
      writeFileSync(
        path,
        stringify({
          apiVersion: 'v1',
          kind: 'Config',
          'current-context': 'test',
          contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
          clusters: [
            {
              name: 'test',
              cluster: { server: `https://${host}:${port}`, 'certificate-authority-data': Buffer.from(ca).toString('base64') },
            },
          ],
          users: [{ name: 'test', user: { token: issue(user) } }],
        }),
      )
      return path
    },
    token(namespace, serviceAccount, audiences = [], pod) {
      const username = `system:serviceaccount:${namespace}:${serviceAccount}`
      const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated']
      const extra = pod === undefined ? {} : { extra: { 'authentication.kubernetes.io/pod-name': [pod] } }
      return issue({ username, groups, uid: `uid-${namespace}-${serviceAccount}`, ...extra }, audiences, pod)
    },
    collection(kind) {
      const found = resources().find((each) => each.kind === kind)
      if (!found) throw new Error(`the stand-in knows no kind ${kind}; apply its CustomResourceDefinition first`)
      return found
    },
    async apply(given, user = ADMIN) {
      const object = given as ApiObject
      const resource = api.collection(object.kind ?? '')
      const collection = `${resource.group}/${resource.plural}`
      const old = store.get(collection, object.metadata.namespace, object.metadata.name)
      if (!old) return create(resource, object, user)
      return { object: store.update(collection, applyMergePatch(old, object) as ApiObject), warnings: [] }
    },
    open,
    close,
    async [Symbol.asyncDispose]() {
      await close().catch(() => {})
      rmSync(folder, { recursive: true, force: true })
    },
  }
  for (const name of ['default', 'kube-system'])
    store.create('/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
    })
  return api
}

/** The path of an object that is put into the API by hand. */
export function pathOf(api: ApiServer, object: ApiObject): string {
  const version = (object.apiVersion ?? 'v1').split('/').at(-1) as string
  return `${collectionPath(api.collection(object.kind ?? ''), version, object.metadata.namespace)}/${object.metadata.name}`
}
