import type { Logger } from '../telemetry/log.ts'
import type { MetadataField } from './metadata.ts'

/** What a driver is told about the resource that configures it. */
export interface ComponentContext {
  /** metadata.name of the resource. */
  name: string
  /** e.g. `state.redis`. */
  type: string
  /** e.g. `v1`. */
  version: string
  /** spec.metadata, secrets and environment references already resolved; names as written. */
  properties: Readonly<Record<string, string>>
  appId: string
  namespace: string
  log: Logger
}

/** What every driver instance has: a start that may fail or wait, and an end that frees everything. */
export interface Component extends AsyncDisposable {
  /** Connects and prepares; rejects with an Error whose message names the setting or the server. */
  init(signal: AbortSignal): Promise<void>
  /** Cheap liveness question to the server, if there is one. */
  ping?(signal: AbortSignal): Promise<void>
}

/** What a driver's module exports as `driver`. */
export interface DriverModule<T extends Component = Component> {
  /** One line for the documentation. */
  summary: string
  metadata: readonly MetadataField[]
  create(context: ComponentContext): T
}
