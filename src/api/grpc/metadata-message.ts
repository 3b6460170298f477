import type { Metadata } from '../../blocks/metadata.ts'
import { ProtoWriter } from '../../transport/grpc/wire.ts'

const RUNTIME_STATUS: Record<string, number> = { INITIALIZING: 0, DISABLED: 1, RUNNING: 2 }
const SUBSCRIPTION_TYPE: Record<string, number> = { UNKNOWN: 0, DECLARATIVE: 1, PROGRAMMATIC: 2, STREAMING: 3 }

interface Subscription {
  pubsubname?: string
  topic?: string
  metadata?: Record<string, string>
  rules?: { match?: string; path?: string }[]
  deadLetterTopic?: string
  type?: string
}

/** GetMetadataResponse. */
export function encodeMetadata(metadata: Metadata): Buffer {
  const writer = new ProtoWriter()
  const nested = (field: number, write: () => void) => {
    const mark = writer.begin(field)
    write()
    writer.end(mark)
  }
  const names = (field: number, list: readonly { name: string }[] | undefined) => {
    for (const { name } of list ?? []) nested(field, () => writer.string(1, name))
  }
  writer.string(1, metadata.id)
  for (const component of metadata.components) {
    nested(3, () => {
      writer.string(1, component.name)
      writer.string(2, component.type)
      writer.string(3, component.version)
      for (const capability of component.capabilities ?? []) writer.string(4, capability, true)
    })
  }
  writer.map(4, metadata.extended)
  for (const subscription of (metadata.subscriptions ?? []) as Subscription[]) {
    nested(5, () => {
      writer.string(1, subscription.pubsubname ?? '')
      writer.string(2, subscription.topic ?? '')
      writer.map(3, subscription.metadata ?? {})
      if (subscription.rules) {
        nested(4, () => {
          for (const rule of subscription.rules ?? []) {
            nested(1, () => {
              writer.string(1, rule.match ?? '')
              writer.string(2, rule.path ?? '')
            })
          }
        })
      }
      writer.string(5, subscription.deadLetterTopic ?? '')
      writer.uint(6, SUBSCRIPTION_TYPE[subscription.type ?? ''] ?? 0)
    })
  }
  names(6, metadata.httpEndpoints)
  const app = metadata.appConnectionProperties
  if (app) {
    nested(7, () => {
      writer.uint(1, app.port ?? 0)
      writer.string(2, app.protocol ?? '')
      writer.string(3, app.channelAddress ?? '')
      writer.int64(4, app.maxConcurrency ?? 0)
      const { health } = app
      if (health) {
        nested(5, () => {
          writer.string(1, health.healthCheckPath ?? '')
          writer.string(2, health.healthProbeInterval ?? '')
          writer.string(3, health.healthProbeTimeout ?? '')
          writer.int64(4, health.healthThreshold ?? 0)
        })
      }
    })
  }
  writer.string(8, metadata.runtimeVersion)
  for (const feature of metadata.enabledFeatures) writer.string(9, feature, true)
  nested(10, () => {
    writer.uint(1, RUNTIME_STATUS[metadata.actorRuntime.runtimeStatus] ?? 0)
    writer.bool(3, metadata.actorRuntime.hostReady)
    writer.string(4, metadata.actorRuntime.placement)
  })
  names(13, metadata.mcpServers)
  names(15, metadata.resiliencies)
  return writer.take()
}
