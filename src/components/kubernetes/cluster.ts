import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { parse } from 'yaml'
import { HttpClient } from '../../transport/http1/client.ts'

/** Bytes of one reply. */
const LIMIT = 64 << 20
/** Milliseconds for one exchange. */
const PATIENCE = 15_000
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

interface Access {
  server: URL
  tls: ConnectionOptions
  /** Asked anew for each request: tokens of service accounts are replaced. */
  token(): Promise<string | undefined>
}

/** The API server of a cluster: in a pod its own, elsewhere the one of a kubeconfig's current context. */
export class Cluster implements AsyncDisposable {
  readonly #access: Access
  readonly #client: HttpClient

  private constructor(access: Access) {
    this.#access = access
    this.#client = new HttpClient({ connections: 4, silenceTimeout: PATIENCE, tls: access.tls })
  }

  /** `kubeconfig`: a path; without it the pod's service account, then $KUBECONFIG, then ~/.kube/config. Rejects naming what is missing. */
  static async open(kubeconfig: string | undefined, env: NodeJS.ProcessEnv): Promise<Cluster> {
    if (!kubeconfig && env.KUBERNETES_SERVICE_HOST) return new Cluster(await inPod(env))
    return new Cluster(await fromFile(kubeconfig || env.KUBECONFIG || join(homedir(), '.kube', 'config')))
  }

  /** One object or list by its path, e.g. `/api/v1/namespaces/default/secrets/db`; undefined: it is not there. */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    const { server, token } = this.#access
    const bearer = await token()
    const patience = AbortSignal.timeout(PATIENCE)
    let reply: Awaited<ReturnType<HttpClient['request']>>
    try {
      reply = await this.#client.request({
        method: 'GET',
        url: new URL(`${server.pathname.replace(/\/+$/, '')}${path}`, server),
        headers: { accept: 'application/json', ...(bearer && { authorization: `Bearer ${bearer}` }) },
        signal: signal ? AbortSignal.any([signal, patience]) : patience,
        limit: LIMIT,
        tooLarge: () => new Error(`Kubernetes at ${server.host} answered with more than ${LIMIT} bytes`),
      })
    } catch (error) {
      throw new Error(`cannot reach Kubernetes at ${server.host}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    }
    if (reply.status === 404) return undefined
    if (reply.status === 200) return JSON.parse(reply.body.toString())
    throw new Error(`Kubernetes at ${server.host} answered ${reply.status}: ${reasonOf(reply.body)}${hintFor(reply.status)}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}

function reasonOf(body: Buffer): string {
  try {
    return String((JSON.parse(body.toString()) as { message?: unknown }).message ?? '')
  } catch {
    return 'no reason given'
  }
}

function hintFor(status: number): string {
  if (status === 401) return '; its credentials are not taken'
  return status === 403 ? '; give the service account a role that may get and list it' : ''
}

async function inPod({ KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' }: NodeJS.ProcessEnv): Promise<Access> {
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`)
  return {
    server,
    tls: { ca: await readFile(join(SERVICE_ACCOUNT, 'ca.crt'), 'utf8') },
    token: async () => (await readFile(join(SERVICE_ACCOUNT, 'token'), 'utf8')).trim(),
  }
}

interface KubeConfig {
  'current-context'?: string
  contexts?: { name: string; context: { cluster: string; user: string } }[]
  clusters?: { name: string; cluster: Record<string, string | boolean | undefined> }[]
  users?: { name: string; user: Record<string, unknown> }[]
}

async function fromFile(path: string): Promise<Access> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new Error(`no Kubernetes: not in a pod, and kubeconfig ${path} cannot be read: ${error.message}`)
  })
  const config = (parse(text) ?? {}) as KubeConfig
  const context = config.contexts?.find(({ name }) => name === config['current-context'])?.context
  const cluster = config.clusters?.find(({ name }) => name === context?.cluster)?.cluster
  const user = config.users?.find(({ name }) => name === context?.user)?.user ?? {}
  if (!cluster?.server) throw new Error(`kubeconfig ${path}: its current-context names no cluster with a server`)
  if (user.exec || user['auth-provider'])
    throw new Error(`kubeconfig ${path}: sign-in by another program is not supported; use a token or a client certificate`)
  const material = async (of: Record<string, unknown>, name: string): Promise<string | undefined> => {
    const inline = of[`${name}-data`]
    if (typeof inline === 'string') return Buffer.from(inline, 'base64').toString()
    const file = of[name]
    return typeof file === 'string' ? readFile(resolve(dirname(path), file), 'utf8') : undefined
  }
  const [ca, cert, key] = [
    await material(cluster, 'certificate-authority'),
    await material(user, 'client-certificate'),
    await material(user, 'client-key'),
  ]
  const tokenFile = user.tokenFile
  return {
    server: new URL(String(cluster.server)),
    tls: {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(cluster['insecure-skip-tls-verify'] === true && { rejectUnauthorized: false }),
      ...(typeof cluster['tls-server-name'] === 'string' && { servername: cluster['tls-server-name'] }),
    },
    token: async () => {
      if (typeof user.token === 'string') return user.token
      return typeof tokenFile === 'string' ? (await readFile(resolve(dirname(path), tokenFile), 'utf8')).trim() : undefined
    },
  }
}
