import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ConfigurationStore } from '../blocks/configuration/driver.ts'
import type { PubSub } from '../blocks/pubsub/driver.ts'
import type { SecretStore } from '../blocks/secrets/driver.ts'
import type { RoleResource } from '../resources/role-kinds.ts'
import type { Logger } from '../telemetry/log.ts'

/** The components that run beside a role, found anew at each call: they may be replaced while it runs. Throw an Error that names what there is. */
export interface RoleComponents {
  secretStore(name: string): SecretStore
  configurationStore(name: string): ConfigurationStore
  pubsub(name: string): PubSub
}

/** A host and port, or in their place the path of a unix socket. */
export interface SidecarApi {
  host: string
  port: number
  path?: string
}

/** What a role gets. */
export interface RoleContext {
  log: Logger
  appId: string
  namespace: string
  /** Folder of this role alone, made when it is asked for: positions, buffers, last known values. */
  dataDir(): string
  env: NodeJS.ProcessEnv
  components: RoleComponents
  /** Where the sidecar beside serves its HTTP API; undefined: none is beside. */
  api: SidecarApi | undefined
  /** Aborted when the process begins to stop: no new intake; disposing comes after. */
  signal: AbortSignal
  /** Families of all roles of this process, in Prometheus's text format: what `GET /metrics` of the agents' port shows. */
  page(): string
  /** A role that has opened is up; it tells here when what it needs is away, and when that is back. Shown in health and metadata. */
  report(state: 'up' | 'retrying', error?: unknown): void
}

/** One request on the agents' port, past the token. */
export interface AgentCall {
  request: IncomingMessage
  response: ServerResponse
  /** Decoded parameters of the path; `*` is the wildcard's. */
  params: Readonly<Record<string, string>>
  query: URLSearchParams
  /** Whole body; rejects with 413 above `limit` bytes. */
  body(limit: number): Promise<Buffer>
  /** Aborted when the client goes away or the process stops. */
  signal: AbortSignal
}

/** A route on the agents' port (9001). The handler answers the response itself; what it throws becomes an error reply. */
export interface AgentRoute {
  methods: readonly string[]
  /** `:name` takes one segment, a last `*` the rest: `/config/:service`. */
  path: string
  handle(call: AgentCall): Promise<void> | void
}

/** One role that runs. Disposing ends intake, finishes what is under way within the sidecar's grace, and keeps on disk what is not. */
export interface Role extends AsyncDisposable {
  /** Present, even when empty: the agents' port is opened. */
  readonly routes?: readonly AgentRoute[]
  /** Families in Prometheus's text format, named `outrider_<role>_…`; bounded label sets. */
  metrics?(): string
  /** A few figures for `GET /status` of the agents' port. */
  status?(): Readonly<Record<string, unknown>>
  /** Takes a changed resource over without an interruption; rejects, and nothing changes. Absent: closed and opened anew. */
  update?(resource: RoleResource): Promise<void>
}

/** Opens a role: resolves when it takes in. Rejects with what keeps it from that; nothing is left open then. */
export type OpenRole = (resource: RoleResource, context: RoleContext) => Promise<Role>
