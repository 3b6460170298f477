import type { DaprdFlags } from '../cli/flags.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import { samplingRate } from '../telemetry/tracing/tracer.ts'
import type { ComponentManager } from './component-manager.ts'

/** As JSON for the log, without what may hold a credential. */
export function shownConfiguration({ spec: _spec, tracing, nameResolution, features, ...rest }: Configuration): string {
  const { otel } = tracing
  return JSON.stringify({
    ...rest,
    ...(nameResolution && { nameResolution: { component: nameResolution.component } }),
    features: Object.fromEntries(features),
    tracing: { ...tracing, ...(otel && { otel: { ...otel, headers: otel.headers.map(({ name }) => name) } }) },
  })
}

/** The sampler in the words of OpenTelemetry, which people look for in the log. */
export function samplerOf(text: string): string {
  const rate = samplingRate(text)
  return rate >= 1 ? 'AlwaysOnSampler' : `TraceIDRatioBased{${rate}}`
}

/** Warns of what the Configuration names and no component brings. */
export function remarkOn(configuration: Configuration, manager: ComponentManager, log: Logger): void {
  const middleware = manager.set('middleware')
  for (const { name, type } of [...configuration.httpPipeline, ...configuration.appHttpPipeline])
    if (!middleware.has(name)) log.warn(`HTTP pipeline: no component ${name} of type ${type} is loaded, the step is passed over`)
  for (const { storeName } of configuration.secretScopes)
    if (!manager.set('secretstores').has(storeName))
      log.warn(`Secrets configuration added for '${storeName}', but no matching secret store was found`)
}

/** What components may read of their sidecar in this process's environment. */
export function setEnvironment(flags: DaprdFlags): void {
  Object.assign(process.env, {
    APP_ID: flags.appId,
    APP_PORT: String(flags.appPort),
    DAPR_HTTP_PORT: String(flags.daprHttpPort),
    DAPR_GRPC_PORT: String(flags.daprGrpcPort),
    DAPR_METRICS_PORT: String(flags.metricsPort),
    DAPR_PROFILE_PORT: String(flags.profilePort),
  })
}
