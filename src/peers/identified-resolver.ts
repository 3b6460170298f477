import type { Address, Resolver } from './resolver.ts'

/** A resolver whose addresses also say which app has to answer there: with mTLS a sidecar proves it by its certificate. */
export function identifiedResolver(resolver: Resolver): Resolver {
  const name = (addresses: readonly Address[], appId: string, namespace: string): Address[] => {
    const identity = `/ns/${encodeURIComponent(namespace)}/${encodeURIComponent(appId)}`
    return addresses.map(({ host, port }) => ({ host, port, identity }))
  }
  return {
    resolve(appId, namespace, signal) {
      const found = resolver.resolve(appId, namespace, signal)
      return Array.isArray(found) ? name(found, appId, namespace) : found.then((addresses) => name(addresses, appId, namespace))
    },
    balancer: resolver.balancer,
    register: (registration) => resolver.register(registration),
    invalidate: (appId, namespace) => resolver.invalidate(appId, namespace),
    [Symbol.asyncDispose]: () => resolver[Symbol.asyncDispose](),
  }
}
