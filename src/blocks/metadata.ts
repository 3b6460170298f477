/** What `/v1.0/metadata` and gRPC GetMetadata tell of a sidecar; members as in Dapr's JSON. */
export interface Metadata {
  id: string
  runtimeVersion: string
  enabledFeatures: string[]
  components: { name: string; type: string; version: string; capabilities?: readonly string[] }[]
  extended: Record<string, string>
  subscriptions?: unknown[]
  httpEndpoints?: { name: string }[]
  appConnectionProperties?: {
    port?: number
    protocol?: string
    channelAddress?: string
    maxConcurrency?: number
    health?: { healthCheckPath?: string; healthProbeInterval?: string; healthProbeTimeout?: string; healthThreshold?: number }
  }
  actorRuntime: { runtimeStatus: 'INITIALIZING' | 'DISABLED' | 'RUNNING'; hostReady: boolean; placement: string }
  resiliencies?: { name: string }[]
  mcpServers?: { name: string }[]
}

export interface MetadataBlock {
  get(): Metadata
  /** Keeps at most 1,024 keys of the app's own. */
  set(key: string, value: string): void
}
