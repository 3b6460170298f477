import type { ExternalServices } from '../blocks/invoke/external.ts'
import type { SecretStore } from '../blocks/secrets/driver.ts'
import { messageOf } from '../errors.ts'
import type { HttpEndpointResource, TlsText } from '../resources/kinds.ts'
import { fromSecret, type GetSecret, type ResolveContext, resolvePairs } from '../resources/properties.ts'
import type { ComponentManager } from './component-manager.ts'

export interface EndpointsContext extends ResolveContext {
  manager: ComponentManager
  external: Pick<ExternalServices, 'add'>
}

/** Makes the HTTPEndpoint resources callable, once their secret stores are up. One that cannot be used is left out, with an error in the log. */
export async function loadEndpoints(resources: readonly HttpEndpointResource[], context: EndpointsContext): Promise<void> {
  for (const resource of resources)
    await loadEndpoint(resource, context).catch((error: unknown) =>
      context.log.error(`HTTPEndpoint ${resource.name} cannot be called: ${messageOf(error)}`),
    )
}

/** One of them, in place of the one of its name. Rejects when it cannot be used; what was there stays. */
export async function loadEndpoint(resource: HttpEndpointResource, context: EndpointsContext): Promise<void> {
  const { manager, log } = context
  const getSecret: GetSecret = async (store, secret) =>
    manager.set<SecretStore>('secretstores').get(store)?.component.get(secret, { namespace: context.namespace })
  const owner = `HTTPEndpoint ${resource.name}`
  const store = resource.auth?.secretStore
  const text = async (field: string, value: TlsText | undefined) =>
    value?.value ?? (value?.secretKeyRef && (await fromSecret(value.secretKeyRef, store, getSecret, context, owner, field)))
  const { clientTls } = resource
  context.external.add({
    name: resource.name,
    baseUrl: resource.baseUrl,
    headers: await resolvePairs(resource.headers, store, getSecret, context, owner),
    tls: clientTls && {
      ca: await text('rootCA', clientTls.rootCA),
      cert: await text('certificate', clientTls.certificate),
      key: await text('privateKey', clientTls.privateKey),
    },
  })
  log.info(`HTTP endpoint loaded: ${resource.name}`)
}
