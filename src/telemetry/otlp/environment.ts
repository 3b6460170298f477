/** The environment as OpenTelemetry reads it, as far as all signals share it. */
export type Environment = Readonly<Record<string, string | undefined>>

/** What a sidecar's signals belong to: `service.name` is the app id, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise. */
export function resourceOf(appId: string, env: Environment): Record<string, string> {
  const resource: Record<string, string> = { 'service.name': appId, ...keyValues(env.OTEL_RESOURCE_ATTRIBUTES) }
  if (env.OTEL_SERVICE_NAME) resource['service.name'] = env.OTEL_SERVICE_NAME
  return resource
}

/** `a=1,b=2`, values percent-encoded. */
export function keyValues(text: string | undefined): Record<string, string> {
  const pairs = (text ?? '').split(',').flatMap((pair): [string, string][] => {
    const equals = pair.indexOf('=')
    return equals > 0 ? [[pair.slice(0, equals).trim(), unescaped(pair.slice(equals + 1).trim())]] : []
  })
  return Object.fromEntries(pairs)
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** A positive number of milliseconds; undefined for anything else. */
export function milliseconds(text: string | undefined): number | undefined {
  const value = Number(text)
  return text && Number.isFinite(value) && value > 0 ? value : undefined
}
