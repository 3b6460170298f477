import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import type { DriverModule } from '../../component.ts'
import { Cluster } from '../../kubernetes/cluster.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  { name: 'defaultNamespace', kind: 'string', description: 'Namespace of secrets when neither the request nor NAMESPACE names one.' },
  { name: 'kubeconfigPath', kind: 'string', description: "Kubeconfig to use instead of the pod's service account." },
]

interface Secret {
  metadata: { name: string }
  /** Base64. */
  data?: Record<string, string>
}

/** secretstores.kubernetes: a Secret is one secret of several values. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets of a Kubernetes cluster.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    let cluster: Cluster | undefined
    const path = (metadata: Readonly<Record<string, string>>) => {
      const namespace = metadata.namespace || process.env.NAMESPACE || values.defaultNamespace
      if (!namespace)
        throw new Error('namespace is missing: give it as metadata namespace, as NAMESPACE, or as defaultNamespace of the component')
      return `/api/v1/namespaces/${encodeURIComponent(String(namespace))}/secrets`
    }
    return {
      features: ['MULTIPLE_KEY_VALUES_PER_SECRET'],
      async init() {
        cluster = await Cluster.open(values.kubeconfigPath === undefined ? undefined : String(values.kubeconfigPath), process.env)
      },
      async ping(signal) {
        await cluster?.get('/version', signal)
      },
      async get(name, metadata, signal) {
        const secret = (await cluster?.get(`${path(metadata)}/${encodeURIComponent(name)}`, signal)) as Secret | undefined
        if (!secret) throw new Error(`secrets "${name}" not found`)
        return decoded(secret)
      },
      async bulkGet(metadata, signal) {
        const found: Record<string, Record<string, string>> = {}
        let next = ''
        do {
          const page = `?limit=500${next && `&continue=${encodeURIComponent(next)}`}`
          const list = (await cluster?.get(`${path(metadata)}${page}`, signal)) as
            | { items?: Secret[]; metadata?: { continue?: string } }
            | undefined
          for (const secret of list?.items ?? []) found[secret.metadata.name] = decoded(secret)
          next = list?.metadata?.continue ?? ''
        } while (next)
        return found
      },
      async [Symbol.asyncDispose]() {
        await cluster?.[Symbol.asyncDispose]()
      },
    }
  },
}

function decoded({ data }: Secret): Record<string, string> {
  return Object.fromEntries(Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]))
}
