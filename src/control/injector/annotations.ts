/** Who writes annotations: Dapr's prefix, and ours, which means the same and counts more. */
export const PREFIXES = { dapr: 'dapr.io/', own: 'outrider.dev/' } as const

/** What a value has to look like. `text`, `list`, `pairs` and `choice` are taken as they are. */
export type AnnotationKind = 'bool' | 'int' | 'port' | 'seconds' | 'quantity' | 'duration' | 'text'

/**
 * How the sidecar's command line says it: `value` always, `filled` when not empty, `given` when the annotation is there,
 * `positive` above zero, `switch` without a value when true, `equals` as `--flag=true` when the annotation is there.
 */
export type ArgumentForm = 'value' | 'filled' | 'given' | 'positive' | 'switch' | 'equals'

export interface AnnotationSpec {
  /** Without its prefix. */
  readonly name: string
  readonly kind: AnnotationKind
  readonly default?: string
  /** Bounds of numbers; beyond them the annotation is ignored, with a warning. */
  readonly min?: number
  readonly max?: number
  readonly flag?: string
  readonly form?: ArgumentForm
  /** Only when this other one is true. */
  readonly with?: string
  /** Known under our prefix only. */
  readonly own?: true
  readonly description: string
}

/** A flag whose value comes from the control plane, not from the pod. */
export interface PlatformArgument {
  readonly platform: string
  readonly flag: string
  readonly form: 'filled' | 'switch'
}

const port = (name: string, fallback: string, flag: string, description: string) =>
  ({ name, kind: 'port', default: fallback, flag, form: 'value', description }) as const
const probe = (which: 'liveness' | 'readiness', what: string, fallback: string, description: string) =>
  ({ name: `sidecar-${which}-probe-${what}`, kind: 'seconds', default: fallback, description }) as const

/** Everything a pod may wish, and what the control plane adds, in the order of the sidecar's command line. */
export const ROWS: readonly (AnnotationSpec | PlatformArgument)[] = [
  { platform: 'httpPort', flag: 'dapr-http-port', form: 'filled' },
  port('grpc-port', '50001', 'dapr-grpc-port', 'Port of the gRPC API.'),
  port('internal-grpc-port', '50002', 'dapr-internal-grpc-port', 'Port for other sidecars.'),
  {
    name: 'sidecar-listen-addresses',
    kind: 'text',
    default: '[::1],127.0.0.1',
    flag: 'dapr-listen-addresses',
    form: 'value',
    description: 'Comma separated addresses of the HTTP and gRPC APIs.',
  },
  { platform: 'publicPort', flag: 'dapr-public-port', form: 'filled' },
  { name: 'app-id', kind: 'text', flag: 'app-id', form: 'value', description: 'Name of the app. Default: the name of the pod.' },
  {
    name: 'app-protocol',
    kind: 'text',
    default: 'http',
    flag: 'app-protocol',
    form: 'value',
    description: 'http, https, grpc, grpcs or h2c.',
  },
  { name: 'log-level', kind: 'text', default: 'info', flag: 'log-level', form: 'value', description: 'debug, info, warn or error.' },
  {
    name: 'graceful-shutdown-seconds',
    kind: 'int',
    default: '-1',
    flag: 'dapr-graceful-shutdown-seconds',
    form: 'value',
    description: 'Longest graceful stop; -1: the sidecar’s default, 5.',
  },
  { platform: 'mode', flag: 'mode', form: 'filled' },
  { platform: 'operatorAddress', flag: 'control-plane-address', form: 'filled' },
  { platform: 'sentryAddress', flag: 'sentry-address', form: 'filled' },
  { name: 'app-port', kind: 'port', flag: 'app-port', form: 'positive', description: 'Port of the app; none: the app only calls.' },
  { name: 'enable-metrics', kind: 'bool', default: 'true', flag: 'enable-metrics', form: 'switch', description: 'Serves metrics.' },
  { ...port('metrics-port', '9090', 'metrics-port', 'Port of the metrics.'), with: 'enable-metrics' },
  { name: 'config', kind: 'text', flag: 'config', form: 'filled', description: 'Name of the Configuration resource.' },
  { name: 'app-channel-address', kind: 'text', flag: 'app-channel-address', form: 'filled', description: 'Address of the app.' },
  {
    name: 'placement-host-address',
    kind: 'text',
    flag: 'placement-host-address',
    form: 'filled',
    description: 'Addresses of placement; empty: none. Default: that of the control plane.',
  },
  { platform: 'actorsService', flag: 'actors-service', form: 'filled' },
  { platform: 'remindersService', flag: 'reminders-service', form: 'filled' },
  {
    name: 'sentry-request-jwt-audiences',
    kind: 'text',
    flag: 'sentry-request-jwt-audiences',
    form: 'filled',
    description: 'More audiences of the JWT that the certificate authority is asked for.',
  },
  { name: 'enable-api-logging', kind: 'bool', flag: 'enable-api-logging', form: 'equals', description: 'Logs API calls.' },
  {
    name: 'disable-builtin-k8s-secret-store',
    kind: 'bool',
    flag: 'disable-builtin-k8s-secret-store',
    form: 'switch',
    description: 'No secret store named kubernetes.',
  },
  {
    name: 'enable-app-health-check',
    kind: 'bool',
    flag: 'enable-app-health-check',
    form: 'switch',
    description: 'Asks the app for its health.',
  },
  {
    name: 'app-health-check-path',
    kind: 'text',
    default: '/healthz',
    flag: 'app-health-check-path',
    form: 'value',
    with: 'enable-app-health-check',
    description: 'Path of the health check.',
  },
  {
    name: 'app-health-probe-interval',
    kind: 'int',
    default: '5',
    min: 1,
    flag: 'app-health-probe-interval',
    form: 'value',
    with: 'enable-app-health-check',
    description: 'Seconds between health checks.',
  },
  {
    name: 'app-health-probe-timeout',
    kind: 'int',
    default: '500',
    min: 1,
    flag: 'app-health-probe-timeout',
    form: 'value',
    with: 'enable-app-health-check',
    description: 'Milliseconds that a health check may take.',
  },
  {
    name: 'app-health-threshold',
    kind: 'int',
    default: '3',
    min: 1,
    flag: 'app-health-threshold',
    form: 'value',
    with: 'enable-app-health-check',
    description: 'Failed checks until the app counts as unhealthy.',
  },
  {
    name: 'app-binding-options-timeout',
    kind: 'duration',
    flag: 'app-binding-options-timeout',
    form: 'given',
    description: 'Longest wait for the app’s answer whether it takes a binding.',
  },
  { name: 'log-as-json', kind: 'bool', default: 'false', flag: 'log-as-json', form: 'switch', description: 'Log lines as JSON.' },
  { name: 'enable-profiling', kind: 'bool', default: 'false', flag: 'enable-profiling', form: 'switch', description: 'Serves profiles.' },
  { platform: 'mtls', flag: 'enable-mtls', form: 'switch' },
  {
    name: 'app-ssl',
    kind: 'bool',
    default: 'false',
    flag: 'app-ssl',
    form: 'switch',
    description: 'Deprecated: app-protocol https or grpcs.',
  },
  {
    name: 'app-max-concurrency',
    kind: 'int',
    min: -1,
    flag: 'app-max-concurrency',
    form: 'given',
    description: 'Most calls to the app at once.',
  },
  {
    name: 'http-max-request-size',
    kind: 'int',
    min: -1,
    flag: 'dapr-http-max-request-size',
    form: 'given',
    description: 'Deprecated: max-body-size. In MB.',
  },
  { name: 'max-body-size', kind: 'quantity', flag: 'max-body-size', form: 'filled', description: 'Largest body, e.g. 16Mi.' },
  {
    name: 'http-read-buffer-size',
    kind: 'int',
    min: -1,
    flag: 'dapr-http-read-buffer-size',
    form: 'given',
    description: 'Deprecated: read-buffer-size. In KB.',
  },
  { name: 'read-buffer-size', kind: 'quantity', flag: 'read-buffer-size', form: 'filled', description: 'Largest request head, e.g. 8Ki.' },
  { platform: 'unixDomainSocket', flag: 'unix-domain-socket', form: 'filled' },
  {
    name: 'block-shutdown-duration',
    kind: 'duration',
    flag: 'dapr-block-shutdown-duration',
    form: 'given',
    description: 'Goes on this long after a stop signal, or until the app is unhealthy.',
  },
  {
    name: 'actors-disseminate-timeout',
    kind: 'duration',
    flag: 'actors-disseminate-timeout',
    form: 'given',
    description: 'Longest wait while placement spreads its tables.',
  },
  {
    name: 'scheduler-host-address',
    kind: 'text',
    flag: 'scheduler-host-address',
    form: 'given',
    description: 'Addresses of the scheduler; empty: none. Default: that of the control plane.',
  },
  {
    name: 'disable-init-endpoints',
    kind: 'text',
    flag: 'disable-init-endpoints',
    form: 'given',
    description: 'Calls to the app at the start that are left out: config, subscribe or jobs.',
  },
  {
    name: 'enabled',
    kind: 'bool',
    description: 'Adds the sidecar. In a namespace labelled outrider-injection=enabled: false leaves it out.',
  },
  {
    name: 'enable-debug',
    kind: 'bool',
    default: 'false',
    description: 'Starts the sidecar under a debugger (images of daprd for debugging only).',
  },
  { name: 'debug-port', kind: 'port', default: '40000', description: 'Port of the debugger.' },
  { name: 'env', kind: 'text', description: 'Environment of the sidecar: NAME=value,NAME=value.' },
  { name: 'env-from-secret', kind: 'text', description: 'Environment from secrets: NAME=secret:key,NAME=secret.' },
  { name: 'api-token-secret', kind: 'text', description: 'Secret whose field token the app has to send.' },
  { name: 'app-token-secret', kind: 'text', description: 'Secret whose field token the sidecar sends to the app.' },
  { name: 'sidecar-image', kind: 'text', description: 'Image of the sidecar. Default: that of the control plane.' },
  { name: 'sidecar-seccomp-profile-type', kind: 'text', description: 'RuntimeDefault, Unconfined or Localhost.' },
  { name: 'sidecar-cpu-request', kind: 'quantity', description: 'CPU that is kept for the sidecar, e.g. 100m.' },
  { name: 'sidecar-cpu-limit', kind: 'quantity', description: 'Most CPU of the sidecar.' },
  { name: 'sidecar-memory-request', kind: 'quantity', description: 'Memory that is kept for the sidecar, e.g. 64Mi.' },
  { name: 'sidecar-memory-limit', kind: 'quantity', description: 'Most memory of the sidecar.' },
  probe('readiness', 'delay-seconds', '1', 'Seconds before the first readiness probe.'),
  probe('readiness', 'timeout-seconds', '1', 'Seconds that a readiness probe may take.'),
  probe('readiness', 'period-seconds', '1', 'Seconds between readiness probes.'),
  probe('readiness', 'threshold', '5', 'Failed probes until the sidecar is not ready.'),
  probe('liveness', 'delay-seconds', '180', 'Seconds before the first liveness probe.'),
  probe('liveness', 'timeout-seconds', '3', 'Seconds that a liveness probe may take.'),
  probe('liveness', 'period-seconds', '10', 'Seconds between liveness probes.'),
  probe('liveness', 'threshold', '5', 'Failed probes until the sidecar is started anew.'),
  { name: 'unix-domain-socket-path', kind: 'text', description: 'Folder in the app’s containers with the Unix sockets of the APIs.' },
  { name: 'volume-mounts', kind: 'text', description: 'Volumes of the pod in the sidecar, read only: name:path,name:path.' },
  { name: 'volume-mounts-rw', kind: 'text', description: 'The same, writable.' },
  { name: 'pluggable-components', kind: 'text', description: 'Containers of the pod that are pluggable components, comma separated.' },
  {
    name: 'pluggable-components-sockets-folder',
    kind: 'text',
    description: 'Folder of the components’ sockets. Default: /tmp/dapr-components-sockets.',
  },
  {
    name: 'inject-pluggable-components',
    kind: 'bool',
    default: 'false',
    description: 'Adds the containers that Components of the namespace name in component-container.',
  },
  { name: 'component-container', kind: 'text', description: 'On a Component: its container, as JSON.' },
  { name: 'enable-native-sidecar', kind: 'bool', description: 'The sidecar as an init container that goes on running.' },
  { name: 'sidecar-svc-annotations', kind: 'text', description: 'Annotations of the app’s service: name=value,name=value.' },
  { name: 'control-plane', kind: 'text', description: 'On pods of the control plane: which part of it they are.' },
  {
    name: 'proxy',
    kind: 'bool',
    own: true,
    default: 'false',
    description: 'Adds the transparent proxy and the init container that leads connections to it.',
  },
]

/** The annotations alone. */
export const ANNOTATIONS: readonly AnnotationSpec[] = ROWS.filter((row) => 'name' in row)
