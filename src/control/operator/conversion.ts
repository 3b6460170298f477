import type { Cluster } from '../../components/kubernetes/cluster.ts'

type Json = Record<string, unknown>

/** Answers what API servers ask to convert Subscriptions between their versions (`ConversionReview`). */
export function convertReview(body: unknown): unknown {
  const review = (body ?? {}) as {
    apiVersion?: string
    request?: { uid?: string; desiredAPIVersion?: string; objects?: { apiVersion?: string; kind?: string; spec?: Json }[] }
  }
  const { uid = '', desiredAPIVersion = '', objects = [] } = review.request ?? {}
  const answer = (response: Json) => ({
    apiVersion: review.apiVersion ?? 'apiextensions.k8s.io/v1',
    kind: 'ConversionReview',
    response: { uid, ...response },
  })
  try {
    return answer({ convertedObjects: objects.map((object) => converted(object, desiredAPIVersion)), result: { status: 'Success' } })
  } catch (error) {
    return answer({ convertedObjects: [], result: { status: 'Failure', message: error instanceof Error ? error.message : String(error) } })
  }
}

function converted(object: { apiVersion?: string; kind?: string; spec?: Json }, wanted: string): unknown {
  if (object.apiVersion === wanted) return object
  const { route, routes, ...rest } = object.spec ?? {}
  const move = `${object.apiVersion} ${wanted}`
  if (move === 'dapr.io/v1alpha1 dapr.io/v2alpha1')
    return { ...object, apiVersion: wanted, spec: { ...rest, routes: { ...(route ? { default: route } : {}) } } }
  if (move === 'dapr.io/v2alpha1 dapr.io/v1alpha1') {
    // Rules have no place in the older form; only where nothing matches stays.
    const path = (routes as { default?: string } | undefined)?.default
    return { ...object, apiVersion: wanted, spec: { ...rest, route: path ?? '' } }
  }
  throw new Error(`a ${object.kind} of ${object.apiVersion} cannot become one of ${wanted}`)
}

const DEFINITION = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/subscriptions.dapr.io'

/** Tells the API server where Subscriptions are converted, and by which certificates it knows us. Rejects when there is no such definition. */
export async function publishConversion(cluster: Cluster, namespace: string, trustAnchors: string, signal: AbortSignal): Promise<void> {
  type Config = { caBundle?: string; service?: { namespace?: string } }
  const found = (await cluster.get(DEFINITION, signal)) as { spec?: { conversion?: { webhook?: { clientConfig?: Config } } } } | undefined
  if (!found) throw new Error('there is no CustomResourceDefinition subscriptions.dapr.io; install the control plane’s manifests')
  const config = found.spec?.conversion?.webhook?.clientConfig
  if (!config) throw new Error('the CustomResourceDefinition subscriptions.dapr.io names no webhook for its conversion')
  const caBundle = Buffer.from(trustAnchors).toString('base64')
  if (config.caBundle === caBundle && config.service?.namespace === namespace) return
  const path = '/spec/conversion/webhook/clientConfig'
  const value = { ...config, caBundle, service: { name: 'dapr-webhook', path: '/convert', port: 443, ...config.service, namespace } }
  await cluster.patch(DEFINITION, 'json', [{ op: 'replace', path, value }], signal)
}
