import { isTruthy } from '../components/metadata.ts'

/** What the sidecar reads from its environment, by the names of Dapr's documentation; empty variables count as absent unless said. */
export interface DaprdEnvironment {
  /** DAPR_API_TOKEN: asked of callers of the public API. Never logged. */
  apiToken?: string
  /** APP_API_TOKEN: sent to the app. Never logged. */
  appApiToken?: string
  /** OUTRIDER_API_TOKEN_FILE: a file with the tokens that callers may bring, followed; in place of the variable. */
  apiTokenFile?: string
  /** OUTRIDER_APP_API_TOKEN_FILE: a file with the token sent to the app, followed; in place of the variable. */
  appApiTokenFile?: string
  /** NAMESPACE as it is, `''` when unset; the security layer reads `default` for that. */
  namespace: string
  /** POD_NAME, for `{podName}`. */
  podName: string
  /** DAPR_HOST_IP: the address other sidecars are told. */
  hostIp?: string
  /** DAPR_TRUST_ANCHORS: PEM roots, needed with mTLS. */
  trustAnchors?: string
  /** DAPR_SENTRY_TOKEN_FILE, `''` when set empty, which is an error with mTLS. */
  sentryTokenFile?: string
  /** SENTRY_LOCAL_IDENTITY: asked for in place of the app id. */
  sentryLocalIdentity?: string
  /** DAPR_ENV_KEYS: when present, the only variables that `envRef` may name. */
  envKeys?: readonly string[]
  /** DAPR_COMPONENTS_SOCKETS_FOLDER. */
  componentsSocketsFolder: string
  /** DAPR_HTTP_DISABLE_H2C. */
  disableH2c: boolean
  /** DAPR_GRPC_MAX_CONN_IDLE and DAPR_GRPC_CONN_COLLECTOR_INTERVAL, Go durations as written. */
  grpcMaxConnIdle?: string
  grpcConnCollectorInterval?: string
  /** DAPR_WORKFLOW_JANITOR_PERIOD, a Go duration as written. */
  workflowJanitorPeriod?: string
  otel: OtelEnvironment
}

/** The OTEL_EXPORTER_* variables; they count only when the Configuration names no OTLP endpoint. */
export interface OtelEnvironment {
  /** host:port[/path] without its scheme. */
  endpoint?: string
  protocol: 'http' | 'grpc'
  insecure: boolean
  /** `k=v` pairs. */
  headers: readonly string[]
  timeoutMs?: number
  serviceName?: string
  resourceAttributes?: string
}

/** A variable that holds something unusable; ends the start with exit code 1. */
export class EnvironmentError extends Error {
  override readonly name = 'EnvironmentError'
  readonly exitCode = 1
}

/** Reads every variable that daprd reads. Throws EnvironmentError. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): DaprdEnvironment {
  const text = (name: string) => env[name] || undefined
  const keys = text('DAPR_ENV_KEYS')
  return {
    apiToken: text('DAPR_API_TOKEN'),
    appApiToken: text('APP_API_TOKEN'),
    apiTokenFile: text('OUTRIDER_API_TOKEN_FILE'),
    appApiTokenFile: text('OUTRIDER_APP_API_TOKEN_FILE'),
    namespace: env.NAMESPACE ?? '',
    podName: env.POD_NAME ?? '',
    hostIp: text('DAPR_HOST_IP'),
    trustAnchors: text('DAPR_TRUST_ANCHORS'),
    sentryTokenFile: env.DAPR_SENTRY_TOKEN_FILE,
    sentryLocalIdentity: text('SENTRY_LOCAL_IDENTITY'),
    envKeys: keys?.split(' ').filter((key) => key !== ''),
    componentsSocketsFolder: text('DAPR_COMPONENTS_SOCKETS_FOLDER') ?? '/tmp/dapr-components-sockets',
    disableH2c: isTruthy(env.DAPR_HTTP_DISABLE_H2C),
    grpcMaxConnIdle: text('DAPR_GRPC_MAX_CONN_IDLE'),
    grpcConnCollectorInterval: text('DAPR_GRPC_CONN_COLLECTOR_INTERVAL'),
    workflowJanitorPeriod: text('DAPR_WORKFLOW_JANITOR_PERIOD'),
    otel: readOtel(text),
  }
}

function readOtel(text: (name: string) => string | undefined): OtelEnvironment {
  const either = (name: string) => text(`OTEL_EXPORTER_OTLP_TRACES_${name}`) ?? text(`OTEL_EXPORTER_OTLP_${name}`)
  const timeout = either('TIMEOUT')
  if (timeout !== undefined && !/^[+-]?\d+$/.test(timeout)) {
    throw new EnvironmentError(`OTEL_EXPORTER_OTLP_TIMEOUT (or its _TRACES_ form) is "${timeout}"; give a whole number of milliseconds`)
  }
  return {
    endpoint: either('ENDPOINT')?.replace(/^https?:\/\//, ''),
    protocol: either('PROTOCOL')?.startsWith('http') ? 'http' : 'grpc',
    insecure: text('OTEL_EXPORTER_OTLP_INSECURE') === 'true',
    headers: (either('HEADERS') ?? '').split(',').filter((pair) => pair !== ''),
    timeoutMs: timeout === undefined ? undefined : Number(timeout),
    serviceName: text('OTEL_SERVICE_NAME'),
    resourceAttributes: text('OTEL_RESOURCE_ATTRIBUTES'),
  }
}
