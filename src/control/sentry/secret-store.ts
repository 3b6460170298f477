import { type Cluster, ClusterError } from '../../components/kubernetes/cluster.ts'
import type { BundleNames, BundleStore } from './bundle.ts'

/** Dapr's name of the Secret and of the ConfigMap. */
const NAME = 'dapr-trust-bundle'
/** Milliseconds between two looks at the Secret: a rotation has days. */
const EVERY = 60_000

interface Stored {
  metadata?: { resourceVersion?: string }
  data?: Record<string, string> | null
}

/**
 * A bundle in the Secret `dapr-trust-bundle` of the control plane's namespace; what is public of it is kept in the ConfigMap of
 * that name too, where pods find it. Both are made when they are missing. Of several authorities that start at once the first to
 * write wins.
 */
export function secretStore(cluster: Cluster, namespace: string, names: BundleNames, every = EVERY): BundleStore {
  const collection = (plural: string) => `/api/v1/namespaces/${encodeURIComponent(namespace)}/${plural}`
  const read = async (plural: string) => (await cluster.get(`${collection(plural)}/${NAME}`)) as Stored | undefined
  let known: Stored | undefined

  const put = async (plural: string, kind: string, old: Stored | undefined, data: Record<string, string>): Promise<boolean> => {
    try {
      if (old) await cluster.replace(`${collection(plural)}/${NAME}`, { apiVersion: 'v1', kind, ...old, data: { ...old.data, ...data } })
      else await cluster.create(collection(plural), { apiVersion: 'v1', kind, metadata: { name: NAME, namespace }, data })
      return true
    } catch (error) {
      if (error instanceof ClusterError && error.status === 409) return false
      throw error
    }
  }
  /** The ConfigMap follows the Secret, whoever wrote that. */
  const publish = async (texts: Readonly<Record<string, string | undefined>>): Promise<void> => {
    const wanted: Record<string, string> = {}
    for (const name of [names.roots, names.keySet]) {
      const text = texts[name]
      if (text !== undefined) wanted[name] = text
    }
    const map = await read('configmaps')
    if (Object.keys(wanted).length === 0 || Object.entries(wanted).every(([name, text]) => map?.data?.[name] === text)) return
    // Somebody else's write is as good as ours.
    await put('configmaps', 'ConfigMap', map, wanted)
  }
  return {
    async read() {
      known = await read('secrets')
      const data = Object.entries(known?.data ?? {})
      const texts = Object.fromEntries(data.map(([name, text]) => [name, Buffer.from(text, 'base64').toString()]))
      if (texts[names.roots] !== undefined) await publish(texts)
      return texts
    },
    async write(texts) {
      const given = Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== undefined)
      const data = Object.fromEntries(given.map(([name, text]) => [name, Buffer.from(text).toString('base64')]))
      if (!(await put('secrets', 'Secret', known, data))) return false
      await publish(texts)
      return true
    },
    follow(onChange) {
      const timer = setInterval(onChange, every).unref()
      return { [Symbol.dispose]: () => clearInterval(timer) }
    },
    async [Symbol.asyncDispose]() {},
  }
}
