import type { OpenRole, Role } from '../agent/role.ts'
import type { ProxySpec } from '../resources/proxy-schema.ts'
import { Admin } from './admin.ts'
import { prometheus } from './admin-stats.ts'
import { readEndpoints } from './envoy/clusters.ts'
import { problemText } from './envoy/reader.ts'
import { readProxy } from './read.ts'
import { ProxyServer } from './server.ts'

/** Opens a Proxy: listeners take connections when it resolves. Rejects with every problem of its configuration, or the port that is taken. */
export const openProxy: OpenRole = async ({ spec }, { log }): Promise<Role> => {
  const { model, remarks } = readProxy(spec as ProxySpec)
  for (const remark of remarks) log.warn(`${problemText(remark)} (passed over)`)
  const server = new ProxyServer(model, { log, identity: undefined, original: undefined, readFile: readEndpoints, resolve: undefined })
  const admin = model.admin && new Admin(server)
  try {
    if (admin && model.admin) await admin.open(model.admin)
    await server.open()
  } catch (error) {
    await Promise.all([admin?.[Symbol.asyncDispose](), server[Symbol.asyncDispose]()])
    throw error
  }
  for (const { model: one, port } of server.listeners) log.info(`${one.name} listens on ${one.path ?? `${one.host}:${port}`}`)
  if (admin) log.info(`the admin port is ${model.admin?.host}:${admin.port}`)
  return {
    metrics: () => prometheus(server, 'outrider_proxy_'),
    status: () => ({
      listeners: server.listeners.map(({ model: one, port, connections }) => ({
        name: one.name,
        address: one.path ?? `${one.host}:${port}`,
        connections,
      })),
      services: [...server.clusters].map(([name, { figures }]) => ({
        name,
        endpoints: figures.membership_total,
        healthy: figures.membership_healthy,
      })),
    }),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await admin?.[Symbol.asyncDispose]()
    },
  }
}
