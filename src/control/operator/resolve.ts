import type { FollowedName } from '../../resources/operator/messages.ts'
import type { KubeObject } from '../informer.ts'
import type { SecretReader } from './secrets.ts'

interface Reference {
  name?: string
  key?: string
}
interface Pair {
  name?: string
  value?: unknown
  secretKeyRef?: Reference | null
}
type Json = Record<string, unknown>

/**
 * A resource with the values of the Secrets that it refers to, in Base64; what lies in other secret stores is left to the sidecar.
 * Values of a Configuration's headers come as text. Resolves with the same object when nothing is referred to; rejects naming what is
 * missing.
 */
export async function withSecrets(kind: FollowedName, object: KubeObject, secrets: SecretReader): Promise<KubeObject> {
  const namespace = object.metadata.namespace ?? ''
  const { auth } = object as { auth?: { secretStore?: string } }
  const builtIn = auth?.secretStore === undefined || auth.secretStore === '' || auth.secretStore === 'kubernetes'
  const places = builtIn || kind === 'MCPServer' || kind === 'Configuration' ? pairsOf(kind, (object.spec ?? {}) as Json) : []
  if (!places.some(refers)) return object
  const copy = structuredClone(object)
  for (const pair of pairsOf(kind, copy.spec as Json)) {
    if (!refers(pair)) continue
    const { name = '', key } = pair.secretKeyRef as Reference
    if (kind === 'Configuration' && !key) throw new Error(`secret key is required for header ${pair.name}`)
    const value = await secrets.read(namespace, name, key || name)
    if (kind === 'Configuration') {
      if (value === undefined) throw new Error(`key ${key} not found in secret ${name}`)
      pair.value = Buffer.from(value, 'base64').toString()
    } else if (value !== undefined) pair.value = value
  }
  return copy
}

function refers({ secretKeyRef }: Pair): boolean {
  return typeof secretKeyRef?.name === 'string' && secretKeyRef.name !== ''
}

/** Where a resource of a kind may refer to secrets. */
function pairsOf(kind: FollowedName, spec: Json): Pair[] {
  const at = (...path: string[]) => path.reduce((value: unknown, name) => (value as Json | null | undefined)?.[name], spec)
  const list = (value: unknown) => (Array.isArray(value) ? (value as Pair[]) : [])
  if (kind === 'Component') return list(spec.metadata)
  if (kind === 'Configuration') return list(at('tracing', 'otel', 'headers'))
  if (kind === 'HTTPEndpoint') {
    const tls = ['rootCA', 'certificate', 'privateKey'].map((name) => at('clientTLS', name))
    return [...list(spec.headers), ...list(tls.filter((value) => value !== null && typeof value === 'object'))]
  }
  if (kind === 'MCPServer')
    return [
      ...list(at('endpoint', 'streamableHTTP', 'headers')),
      ...list(at('endpoint', 'sse', 'headers')),
      ...list(at('endpoint', 'stdio', 'env')),
    ]
  return []
}
