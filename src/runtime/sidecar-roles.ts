import { join } from 'node:path'
import type { RoleComponents, SidecarApi } from '../agent/role.ts'
import type { Roles } from '../agent/roles.ts'
import type { ConfigurationStore } from '../blocks/configuration/driver.ts'
import type { PubSub } from '../blocks/pubsub/driver.ts'
import type { SecretStore } from '../blocks/secrets/driver.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import type { RoleResource } from '../resources/role-kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import type { ComponentManager } from './component-manager.ts'
import type { Lifecycle } from './lifecycle.ts'

export interface SidecarRolesOptions {
  appId: string
  namespace: string
  log: Logger
  manager: ComponentManager
  lifecycle: Lifecycle
  /** Where the sidecar's HTTP API is; undefined: there is none. */
  api?: SidecarApi | undefined
  /** Where the process keeps what must last; roles have `roles/<kind>/<name>` below it. */
  dataDir: string
  env: NodeJS.ProcessEnv
  port: { host: string; port: number; socket?: string | undefined; token?: string | undefined }
  signal: AbortSignal
}

/** The roles beside one sidecar, as its flags say; on loopback only. */
export function rolesBeside(
  given: Pick<SidecarRolesOptions, 'log' | 'manager' | 'lifecycle' | 'signal'> & { flags: DaprdFlags },
): SidecarRoles {
  const { flags, ...rest } = given
  return new SidecarRoles({
    ...rest,
    appId: flags.appId,
    namespace: flags.environment.namespace,
    api: apiOf(flags),
    dataDir: flags.outriderDataDir,
    env: process.env,
    port: {
      host: '127.0.0.1',
      port: flags.outriderAgentPort,
      socket: flags.outriderAgentSocket,
      token: process.env.OUTRIDER_AGENT_TOKEN,
    },
  })
}

/** The further roles of one process: nothing of them is loaded before a resource asks for one. */
export class SidecarRoles implements AsyncDisposable {
  readonly #options: SidecarRolesOptions
  #roles: Promise<Roles> | undefined
  #opened: Roles | undefined

  constructor(options: SidecarRolesOptions) {
    this.#options = options
  }

  /** Opens what the resources ask for; with `strict` rejects with the first that cannot open. */
  async start(resources: readonly RoleResource[], strict = false): Promise<void> {
    if (resources.length > 0) await (await this.#load()).start(resources, strict)
  }

  /** The agents' port, open even when no role asks for it; gives its number. */
  async listen(): Promise<number> {
    const roles = await this.#load()
    await roles.listen()
    return roles.port
  }

  /** Rejects when it cannot be used; what ran before goes on. */
  async put(resource: RoleResource): Promise<void> {
    await (await this.#load()).put(resource, true)
  }

  async remove(resource: RoleResource): Promise<void> {
    await this.#opened?.remove(resource)
    this.#options.lifecycle.forget('role', `${resource.kind}/${resource.name}`)
  }

  /** Families of all roles, in Prometheus's text format. */
  metrics(): string {
    return this.#opened?.metrics() ?? ''
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#roles)?.[Symbol.asyncDispose]()
  }

  #load(): Promise<Roles> {
    this.#roles ??= (async () => {
      const { Roles } = await import('../agent/roles.ts')
      const { appId, namespace, log, manager, lifecycle, api, dataDir, env, port, signal } = this.#options
      this.#opened = new Roles({
        appId,
        namespace,
        log: log.scope('outrider.agent'),
        dataDir: join(dataDir, 'roles'),
        env,
        components: componentsOf(manager),
        api,
        port,
        part: (name, kind, state, error) => lifecycle.part('role', `${kind}/${name}`, kind, state, { error }),
        signal,
      })
      return this.#opened
    })()
    return this.#roles
  }
}

function componentsOf(manager: ComponentManager): RoleComponents {
  const find = <T>(block: string, what: string, name: string): T => {
    const set = manager.set<T>(block)
    const found = set.get(name)
    if (found) return found.component
    const names = [...set.keys()]
    throw new Error(
      `there is no ${what} ${name}; ${names.length > 0 ? `there is ${names.join(', ')}` : `no ${what} is configured: add a Component of type ${block}.…`}`,
    )
  }
  return {
    secretStore: (name) => find<SecretStore>('secretstores', 'secret store', name),
    configurationStore: (name) => find<ConfigurationStore>('configuration', 'configuration store', name),
    pubsub: (name) => find<PubSub>('pubsub', 'pub/sub component', name),
  }
}

/** On the address that reaches us from here. */
function apiOf({ unixDomainSocket, appId, daprHttpPort: port, daprListenAddresses }: DaprdFlags): SidecarApi {
  if (unixDomainSocket) return { host: '127.0.0.1', port, path: `${unixDomainSocket}/dapr-${appId}-http.socket` }
  const [first = ''] = daprListenAddresses
  const any = first === '' || first === '0.0.0.0' || first === '::' || daprListenAddresses.includes('127.0.0.1')
  return { host: any ? '127.0.0.1' : first.replace(/^\[|\]$/g, ''), port }
}
