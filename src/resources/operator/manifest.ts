type Json = Record<string, unknown>

const BUILT_IN_STORE = 'kubernetes'

/** Kinds whose values may be of a secret store. */
const SECRETIVE: ReadonlySet<string> = new Set(['Component', 'HTTPEndpoint', 'MCPServer'])

/**
 * A resource as the operator sends it (the JSON of Go's structs), as the document one would have written: nothing that is null or
 * a reference to nothing, and the secrets that the operator has read, which are Base64, as their text.
 */
export function manifestOf(kind: string, apiVersion: string, given: unknown): Json {
  const manifest = withoutNothing(given) as Json
  const { status: _status, ...rest } = manifest
  const auth = rest.auth as { secretStore?: string } | undefined
  const store = auth?.secretStore || BUILT_IN_STORE
  const spec = (rest.spec ?? {}) as Json
  if (kind === 'Component') spec.metadata = pairs(spec.metadata, store)
  if (kind === 'HTTPEndpoint') {
    if ('baseURL' in spec && !('baseUrl' in spec)) {
      spec.baseUrl = spec.baseURL
      delete spec.baseURL
    }
    spec.headers = pairs(spec.headers, store)
    const tls = spec.clientTLS as Json | undefined
    for (const [field, value] of Object.entries(tls ?? {})) if (isObject(value)) (tls as Json)[field] = revealed(value, store)
    if (tls && Object.keys(tls).length === 0) delete spec.clientTLS
  }
  return {
    ...rest,
    apiVersion,
    kind,
    spec,
    ...(SECRETIVE.has(kind) && { auth: { ...auth, secretStore: store } }),
  }
}

/** One of ours, which the operator passes on as it was applied; it says itself of which kind it is. */
export function ownManifestOf(given: unknown): Json {
  const { status: _status, ...rest } = given as Json
  return rest
}

function pairs(list: unknown, store: string): unknown[] {
  return Array.isArray(list) ? list.map((pair) => (isObject(pair) ? revealed(pair, store) : pair)) : []
}

/** What the operator has read of the cluster's own secrets it sends along, beside the reference. */
function revealed(pair: Json, store: string): Json {
  const { secretKeyRef, value, envRef, ...rest } = pair
  const reference = isObject(secretKeyRef) && secretKeyRef.name ? secretKeyRef : undefined
  const secret = reference && store === BUILT_IN_STORE && typeof value === 'string' ? Buffer.from(value, 'base64').toString() : undefined
  return {
    ...rest,
    ...(secret !== undefined ? { value: secret } : value !== undefined && { value }),
    ...(reference && secret === undefined && { secretKeyRef: reference }),
    ...(envRef ? { envRef } : {}),
  }
}

function withoutNothing(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNothing)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null && inner !== undefined)
      .map(([name, inner]) => [name, withoutNothing(inner)]),
  )
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
