import { messageOf } from '../../errors.ts'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { HttpPool } from '../../transport/http1/pool.ts'
import { type Access, openAccess } from './access.ts'
import { type WatchEvent, WatchExchange } from './watch-exchange.ts'

/** Bytes of one reply. */
const LIMIT = 64 << 20
/** Milliseconds for one exchange. */
const PATIENCE = 15_000

/** How a change is written down, by what kubectl calls it. */
const PATCHES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const

/** An answer of the API server that is not the one asked for. */
export class ClusterError extends Error {
  override readonly name = 'ClusterError'
  /** HTTP status, e.g. 409: somebody else was faster. */
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** The API server of a cluster: in a pod its own, elsewhere the one of a kubeconfig's current context. */
export class Cluster implements AsyncDisposable {
  readonly #access: Access
  readonly #client: HttpClient
  #watches: HttpPool | undefined

  private constructor(access: Access) {
    this.#access = access
    this.#client = new HttpClient({ connections: 4, silenceTimeout: PATIENCE, tls: access.tls })
  }

  /** `kubeconfig`: a path; without it the pod's service account, then $KUBECONFIG, then ~/.kube/config. Rejects naming what is missing. */
  static async open(kubeconfig: string | undefined, env: NodeJS.ProcessEnv): Promise<Cluster> {
    return new Cluster(await openAccess(kubeconfig, env))
  }

  /** The namespace that goes without saying. */
  get namespace(): string {
    return this.#access.namespace
  }

  /** host:port of the API server, for messages. */
  get host(): string {
    return this.#access.server.host
  }

  /**
   * One object or list by its path, e.g. `/api/v1/namespaces/default/secrets/db`; undefined: it is not there.
   * @param accept another form of it, e.g. metadata only.
   */
  async get(path: string, signal?: AbortSignal, accept = 'application/json'): Promise<unknown> {
    const reply = await this.#exchange('GET', path, undefined, { accept }, signal)
    return reply.status === 404 ? undefined : this.#parsed(reply, 'get and list')
  }

  /** Makes an object in the collection at `path`. Rejects with ClusterError, of status 409 when it is there already. */
  async create(path: string, object: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.#parsed(await this.#exchange('POST', path, object, {}, signal), 'create')
  }

  /** Puts an object in place of the one at `path`; with a resourceVersion only if that is still the current one (409). */
  async replace(path: string, object: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.#parsed(await this.#exchange('PUT', path, object, {}, signal), 'update')
  }

  /** Changes an object. `apply` is server-side apply: it makes the object where there is none; its path then names a field manager. */
  async patch(path: string, kind: keyof typeof PATCHES, patch: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.#parsed(await this.#exchange('PATCH', path, patch, { 'content-type': PATCHES[kind] }, signal), 'patch')
  }

  /** Resolves with false when it is not there. */
  async delete(path: string, signal?: AbortSignal): Promise<boolean> {
    const reply = await this.#exchange('DELETE', path, undefined, {}, signal)
    if (reply.status === 404) return false
    this.#parsed(reply, 'delete')
    return true
  }

  /** Text that is no JSON, e.g. of `/api/v1/namespaces/x/pods/y/log`. */
  async text(path: string, signal?: AbortSignal): Promise<string> {
    const reply = await this.#exchange('GET', path, undefined, { accept: '*/*' }, signal)
    if (reply.status !== 200) throw this.#refused(reply, 'get')
    return reply.body.toString()
  }

  /**
   * Changes of what lies at `path` (with its query, `watch=true` among it), until the server ends the stream, which it does
   * every few minutes. Rejects with ClusterError, or with what broke the connection.
   */
  async watch(path: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal, accept = 'application/json'): Promise<void> {
    const { server, tls } = this.#access
    this.#watches ??= new HttpPool({
      host: server.hostname,
      port: Number(server.port || (server.protocol === 'https:' ? 443 : 80)),
      // One for each kind that is watched.
      maxSockets: 64,
      connectTimeout: PATIENCE,
      tls: server.protocol === 'https:' ? tls : undefined,
    })
    const headers = { accept, ...(await this.#authorization()) }
    signal.throwIfAborted()
    const pool = this.#watches
    const prefix = server.pathname.replace(/\/+$/, '')
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        exchange.abort()
        reject(signal.reason)
      }
      const exchange = new WatchExchange({ method: 'GET', path: `${prefix}${path}`, headers }, onEvent, (problem) => {
        signal.removeEventListener('abort', onAbort)
        if (problem === undefined) resolve()
        else if (problem instanceof Error) reject(new Error(this.#unreachable(problem), { cause: problem }))
        else reject(this.#refused({ status: problem.status, body: problem.body }, 'watch'))
      })
      signal.addEventListener('abort', onAbort, { once: true })
      pool.dispatch(exchange)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#client[Symbol.asyncDispose](), this.#watches?.[Symbol.asyncDispose]()])
  }

  async #exchange(
    method: string,
    path: string,
    body: unknown,
    more: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<WholeReply> {
    const { server } = this.#access
    const patience = AbortSignal.timeout(PATIENCE)
    const content: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
    try {
      return await this.#client.request({
        method,
        url: new URL(`${server.pathname.replace(/\/+$/, '')}${path}`, server),
        headers: { accept: 'application/json', ...content, ...(await this.#authorization()), ...more },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: signal ? AbortSignal.any([signal, patience]) : patience,
        limit: LIMIT,
        tooLarge: () => new Error(`Kubernetes at ${server.host} answered with more than ${LIMIT} bytes`),
      })
    } catch (error) {
      throw new Error(this.#unreachable(error), { cause: error })
    }
  }

  async #authorization(): Promise<Record<string, string>> {
    const bearer = await this.#access.token()
    return bearer ? { authorization: `Bearer ${bearer}` } : {}
  }

  #parsed(reply: WholeReply, verb: string): unknown {
    if (reply.status < 200 || reply.status > 299) throw this.#refused(reply, verb)
    return reply.body.length === 0 ? undefined : JSON.parse(reply.body.toString())
  }

  #refused({ status, body }: Pick<WholeReply, 'status' | 'body'>, verb: string): ClusterError {
    return new ClusterError(status, `Kubernetes at ${this.host} answered ${status}: ${reasonOf(body)}${hintFor(status, verb)}`)
  }

  #unreachable(error: unknown): string {
    return `cannot reach Kubernetes at ${this.host}: ${messageOf(error)}`
  }
}

function reasonOf(body: Buffer): string {
  try {
    return String((JSON.parse(body.toString()) as { message?: unknown }).message ?? '')
  } catch {
    return 'no reason given'
  }
}

function hintFor(status: number, verb: string): string {
  if (status === 401) return '; its credentials are not taken'
  return status === 403 ? `; give the service account a role that may ${verb} it` : ''
}
