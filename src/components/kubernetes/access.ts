import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'

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
  // A pod has no such file, so it does without what reads it.
  return import('./kubeconfig.ts').then(({ accessFromFile }) =>
    accessFromFile(kubeconfig || env.KUBECONFIG || join(homedir(), '.kube', 'config')),
  )
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
