import type { CryptoProvider } from '../../../blocks/crypto/driver.ts'
import type { DriverModule } from '../../component.ts'
import { Cluster } from '../../kubernetes/cluster.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { type LoadedKey, parseKey } from '../key.ts'
import { wrapsWith } from '../wrap.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'defaultNamespace',
    kind: 'string',
    description: 'Namespace of keys that are named secret/key; without it they are named namespace/secret/key.',
  },
  { name: 'kubeconfigPath', kind: 'string', description: "Kubeconfig to use instead of the pod's service account." },
]

/** crypto.dapr.kubernetes.secrets: keys in the Secrets of a cluster (JWK, PEM or symmetric bytes), read at each use. */
export const driver: DriverModule<CryptoProvider> = {
  summary: 'Keys in the Secrets of a Kubernetes cluster.',
  metadata: fields,
  create(context) {
    const { defaultNamespace, kubeconfigPath } = parseMetadata(fields, context.properties)
    let cluster: Cluster | undefined

    const load = async (name: string): Promise<LoadedKey> => {
      const [namespace, secret, key] = placeOf(name, defaultNamespace as string | undefined)
      const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(secret)}`
      const found = (await cluster?.get(path)) as { data?: Record<string, string> } | undefined
      if (found === undefined) throw new Error(`secrets "${secret}" not found`)
      const content = found.data && Object.hasOwn(found.data, key) ? Buffer.from(found.data[key] ?? '', 'base64') : Buffer.alloc(0)
      if (content.length === 0) throw new Error('key not found')
      try {
        return parseKey(content)
      } catch (error) {
        throw new Error(`failed to parse key from secret: '${name}' cannot be read as a key`, { cause: error })
      }
    }

    return {
      async init() {
        cluster = await Cluster.open(kubeconfigPath as string | undefined, process.env)
      },
      async ping(signal) {
        await cluster?.get('/version', signal)
      },
      ...wrapsWith(load),
      async [Symbol.asyncDispose]() {
        await cluster?.[Symbol.asyncDispose]()
      },
    }
  },
}

/** Namespace, Secret and member that a key's name says. */
function placeOf(name: string, fallback: string | undefined): [namespace: string, secret: string, key: string] {
  const parts = name.split('/')
  if (parts.length !== 2 && parts.length !== 3)
    throw new Error('key is not in a valid format: required namespace/secretName/key or secretName/key')
  const [namespace, secret, key] = parts.length === 3 ? parts : [fallback ?? '', ...parts]
  if (!namespace) throw new Error("key doesn't have a namespace and the default namespace isn't set")
  // A dot or two would lead elsewhere.
  if (!secret || !key || /^\.{1,2}$/.test(secret) || /^\.{1,2}$/.test(namespace)) throw new Error('key not found')
  return [namespace, secret, key]
}
