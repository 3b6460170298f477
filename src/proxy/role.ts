import type { OpenRole, Role } from '../agent/role.ts'
import type { ProxySpec } from '../resources/proxy-schema.ts'
import type { Logger } from '../telemetry/log.ts'
import type { OriginalDestination } from '../transport/original-destination.ts'
import { Admin } from './admin.ts'
import { prometheus } from './admin-stats.ts'
import { readEndpoints } from './envoy/clusters.ts'
import { problemText } from './envoy/reader.ts'
import type { ProxyModel } from './model/model.ts'
import { throughSidecar } from './own/apps.ts'
import { PRANA } from './own/compile.ts'
import { pranaApi } from './own/prana.ts'
import { readProxy } from './read.ts'
import { ProxyServer } from './server.ts'

/** Opens a Proxy: listeners take connections when it resolves. Rejects with every problem of its configuration, or the port that is taken. */
export const openProxy: OpenRole = async ({ spec }, { log, api }): Promise<Role> => {
  const text = spec as ProxySpec
  const { model: read, remarks } = readProxy(text)
  for (const remark of remarks) log.warn(`${problemText(remark)} (passed over)`)
  const model = throughSidecar(read, api)
  const server = new ProxyServer(model, {
    log,
    original: await originalOf(model, log),
    readFile: readEndpoints,
    ...(text.prana && { intercept: { [PRANA]: pranaApi(text.prana) } }),
  })
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

/** How to ask for original destinations, if anything here does. */
async function originalOf({ listeners, clusters }: ProxyModel, log: Logger): Promise<OriginalDestination | 'guess' | undefined> {
  if (!listeners.some((one) => one.originalDestination) && !clusters.some(({ discovery }) => discovery === 'original-destination'))
    return undefined
  const { openOriginalDestination } = await import('../transport/original-destination.ts')
  const found = openOriginalDestination()
  if (!found)
    log.warn(
      'sockets cannot be asked where they wanted to go (that needs Linux, and the Node that npm ci installs): Host and the server name of TLS are believed instead',
    )
  return found ?? 'guess'
}
