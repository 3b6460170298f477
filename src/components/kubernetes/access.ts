import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { parse } from 'yaml'

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** How to reach an API server, and as whom. */
export interface Access {
  server: URL
  tls: ConnectionOptions
  /** Of the kubeconfig's current context, or of the pod; `default` where none is named. */
  namespace: string
  /** Asked anew for each request: tokens of service accounts are replaced. */
  token(): Promise<string | undefined>
}

/** `kubeconfig`: a path; without it the pod's service account, then $KUBECONFIG, then ~/.kube/config. Rejects naming what is missing. */
export function openAccess(kubeconfig: string | undefined, env: NodeJS.ProcessEnv): Promise<Access> {
  if (!kubeconfig && env.KUBERNETES_SERVICE_HOST) return inPod(env)
  return fromFile(kubeconfig || env.KUBECONFIG || join(homedir(), '.kube', 'config'))
}

async function inPod({ KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' }: NodeJS.ProcessEnv): Promise<Access> {
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`)
  return {
    server,
    namespace: (await readFile(join(SERVICE_ACCOUNT, 'namespace'), 'utf8').catch(() => '')).trim() || 'default',
    tls: { ca: await readFile(join(SERVICE_ACCOUNT, 'ca.crt'), 'utf8') },
    token: async () => (await readFile(join(SERVICE_ACCOUNT, 'token'), 'utf8')).trim(),
  }
}

interface KubeConfig {
  'current-context'?: string
  contexts?: { name: string; context: { cluster: string; user: string; namespace?: string } }[]
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
    namespace: context?.namespace || 'default',
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
