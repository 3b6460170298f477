import { messageOf } from '../errors.ts'
import type { Resources } from '../resources/kinds.ts'
import { loadResources } from '../resources/load.ts'
import { watchFolders } from '../resources/watch.ts'
import type { Logger } from '../telemetry/log.ts'
import { aborted } from '../waiting.ts'
import { roleAppliers } from './appliers.ts'
import { ComponentManager } from './component-manager.ts'
import { Lifecycle } from './lifecycle.ts'
import { type LoadContext, loadComponents } from './load-components.ts'
import { Reloader } from './reload.ts'
import { ReloadRecord } from './reload-record.ts'
import { SidecarRoles } from './sidecar-roles.ts'

export interface AgentOptions {
  appId: string
  /** Folders of resources: roles, and the components they use. */
  paths: readonly string[]
  /** Resources from elsewhere, which no folder holds. */
  more?: (resources: Resources) => void
  port: { host: string; port: number; socket?: string | undefined; token?: string | undefined }
  /** Whether the agents' port is opened even when no role asks for it. */
  listen: boolean
  dataDir: string
  env: NodeJS.ProcessEnv
  log: Logger
  /** Aborted: stop. */
  signal: AbortSignal
}

/** Roles without the runtime's API: components and roles come up and follow their resources until the signal. */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { appId, paths, dataDir, env, log, port, signal } = options
  const namespace = env.NAMESPACE ?? ''
  const lifecycle = new Lifecycle({ appId, log })
  const manager = new ComponentManager({ appId, namespace, log, lifecycle, retryUnreachable: true })
  const roles = new SidecarRoles({ appId, namespace, log, manager, lifecycle, dataDir, env, port, signal })
  const context: LoadContext = { manager, log, appId, namespace, podName: env.POD_NAME ?? '', env, denied: [] }
  const read = async () => {
    const resources = await loadResources({ paths, appId, namespace, log })
    options.more?.(resources)
    return resources
  }
  try {
    const current = await read()
    if (current.roles.length === 0)
      throw new Error(
        `${paths.join(', ') || 'what was given'} asks for no role: ${current.rejected.length > 0 ? 'correct the documents above' : 'add one, e.g. kind: LogPipeline'}`,
      )
    await loadComponents(current.components, context)
    if (options.listen) await roles.listen()
    await roles.start(current.roles)
    lifecycle.started()
    manager.watch()
    const reloader = new Reloader({
      log,
      lifecycle,
      record: new ReloadRecord(),
      current,
      read,
      appliers: roleAppliers({ current, manager, context, roles }),
    })
    const pass = () => void reloader.request()
    using _watch = watchFolders(paths, pass)
    const onHangup = () => void reloader.request(true)
    process.on('SIGHUP', onHangup)
    await aborted(signal)
    process.off('SIGHUP', onHangup)
    lifecycle.draining()
    await reloader.end()
  } catch (error) {
    log.error(messageOf(error))
    throw error
  } finally {
    await roles[Symbol.asyncDispose]()
    await manager.close()
    lifecycle.stopped()
  }
}
