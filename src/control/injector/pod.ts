/** What the injector looks at in a pod; everything else stays as it is. */
export interface Pod {
  /** Of a pod that is still to be named: of what makes such pods. */
  readonly name: string
  /** It has its name already. */
  readonly named: boolean
  readonly labels: Readonly<Record<string, string>> | undefined
  readonly annotations: Readonly<Record<string, string>>
  readonly hasAnnotations: boolean
  readonly containers: readonly Container[]
  readonly initContainers: readonly Container[]
  readonly volumes: readonly { readonly name: string }[]
  readonly tolerations: readonly Toleration[]
}

export interface Container {
  readonly name: string
  readonly image?: string
  readonly env: readonly { readonly name: string }[]
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
}

export interface Toleration {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
  readonly tolerationSeconds?: number
}

/** Reads a pod as the API server sends it; throws naming the field that is not what Kubernetes says it is. */
export function parsePod(value: unknown): Pod {
  const pod = object(value, 'the pod')
  const metadata = object(pod.metadata ?? {}, 'metadata')
  const spec = object(pod.spec ?? {}, 'spec')
  const annotations = texts(metadata.annotations, 'metadata.annotations')
  return {
    name: String(metadata.name || makerOf(metadata)),
    named: Boolean(metadata.name),
    labels: texts(metadata.labels, 'metadata.labels'),
    annotations: annotations ?? {},
    hasAnnotations: annotations !== undefined && Object.keys(annotations).length > 0,
    containers: list(spec.containers, 'spec.containers').map(parseContainer),
    initContainers: list(spec.initContainers, 'spec.initContainers').map(parseContainer),
    volumes: list<{ name: string }>(spec.volumes, 'spec.volumes'),
    tolerations: list<Toleration>(spec.tolerations, 'spec.tolerations'),
  }
}

/** The Deployment or the like whose pods have the name that one is still to get: `orders-5d9f7c-` and its hash are of `orders`. */
function makerOf({ generateName, labels }: { generateName?: unknown; labels?: unknown }): string {
  const stem = String(generateName ?? '').replace(/-$/, '')
  const hash = (labels as Record<string, unknown> | undefined)?.['pod-template-hash']
  return typeof hash === 'string' && hash !== '' && stem.endsWith(`-${hash}`) ? stem.slice(0, -hash.length - 1) : stem
}

/** Reads one container, all of its members kept. */
export function parseContainer(value: unknown): Container {
  const container = object(value, 'a container')
  return {
    ...container,
    name: String(container.name ?? ''),
    env: list<Container['env'][number]>(container.env, 'env'),
    volumeMounts: list<Container['volumeMounts'][number]>(container.volumeMounts, 'volumeMounts'),
  }
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is no object`)
  return value as Record<string, unknown>
}

function list<T>(value: unknown, what: string): T[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw new Error(`${what} is no list`)
  return value.map((item) => object(item, `an item of ${what}`) as T)
}

function texts(value: unknown, what: string): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined
  for (const [key, item] of Object.entries(object(value, what))) if (typeof item !== 'string') throw new Error(`${what}.${key} is no text`)
  return value as Record<string, string>
}
