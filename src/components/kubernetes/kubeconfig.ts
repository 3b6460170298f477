import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import type { Access } from './access.ts'

interface KubeConfig {
  'current-context'?: string
  contexts?: { name: string; context: { cluster: string; user: string; namespace?: string } }[]
  clusters?: { name: string; cluster: Record<string, string | boolean | undefined> }[]
  users?: { name: string; user: Record<string, unknown> }[]
}

/** Of the current context of a kubeconfig. Rejects naming what is missing in it. */
export async function accessFromFile(path: string): Promise<Access> {
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
