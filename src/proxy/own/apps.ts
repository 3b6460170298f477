import type { Endpoint } from '../model/cluster.ts'
import type { Listener } from '../model/listener.ts'
import type { ProxyModel } from '../model/model.ts'
import type { Route, WeightedService } from '../model/route.ts'

/** By this header a sidecar's HTTP API knows which app a request is for. */
const APP_ID = 'dapr-app-id'

/**
 * Requests for services that are apps go to the API of the sidecar beside: it finds the app's sidecars, and calls them with its
 * policies and its identity. Throws without one.
 */
export function throughSidecar(model: ProxyModel, api: Pick<Endpoint, 'host' | 'port' | 'path'> | undefined): ProxyModel {
  const apps = new Map(
    model.clusters.filter(({ discovery }) => discovery === 'sidecar').map(({ name, serviceName }) => [name, serviceName ?? name]),
  )
  const [first] = apps.keys()
  if (first === undefined) return model
  if (!api)
    throw new Error(
      `service ${first} is an app, which is called through a sidecar's API, and none is beside: put the Proxy among the resources of an outriderd, or give endpoints in place of app`,
    )
  return {
    ...model,
    clusters: model.clusters.map((cluster) =>
      apps.has(cluster.name) ? { ...cluster, discovery: 'static', endpoints: [{ ...api, weight: 1, priority: 0 }] } : cluster,
    ),
    listeners: model.listeners.map((listener) => naming(listener, apps)),
  }
}

function naming(listener: Listener, apps: ReadonlyMap<string, string>): Listener {
  const chains = listener.chains.map((chain) => {
    const { handling } = chain
    if (handling.kind !== 'http') return chain
    const hosts = handling.routes.hosts.map((host) => ({ ...host, routes: host.routes.map((route) => named(route, apps)) }))
    return { ...chain, handling: { ...handling, routes: { ...handling.routes, hosts } } }
  })
  return { ...listener, chains }
}

function named(route: Route, apps: ReadonlyMap<string, string>): Route {
  const { action } = route
  // Only Envoy's words name the service by a header.
  if (action.kind !== 'forward' || 'header' in action.to) return route
  const to = action.to.map((share): WeightedService => {
    const app = apps.get(share.service)
    if (app === undefined) return share
    const { add, remove } = share.requestHeaders
    return { ...share, requestHeaders: { add: [...add, { name: APP_ID, value: app, how: 'overwrite' }], remove } }
  })
  return { ...route, action: { ...action, to } }
}
