export type FlagKind = 'string' | 'bool' | 'int' | 'port' | 'duration' | 'quantity' | 'strings'

/** One command line flag: the source of parsing, usage text and docs. */
export interface FlagSpec {
  name: string
  kind: FlagKind
  /** As one would write it; absent means unset. */
  default?: string
  description: string
  /** What to write instead; giving the flag warns. */
  deprecated?: string
  /** Accepted for compatibility and without effect in this version. */
  inert?: boolean
  hidden?: boolean
}

/** Every daprd flag, then ours. */
export const FLAGS = [
  { name: 'app-id', kind: 'string', description: 'Name of this application; others invoke it by this name. Required, no dots.' },
  { name: 'mode', kind: 'string', default: 'standalone', description: 'standalone or kubernetes.' },
  { name: 'dapr-http-port', kind: 'port', default: '3500', description: 'Port of the HTTP API.' },
  { name: 'dapr-grpc-port', kind: 'port', default: '50001', description: 'Port of the gRPC API.' },
  {
    name: 'dapr-internal-grpc-port',
    kind: 'port',
    description: 'Port for other sidecars; 0 or unset: derived from app id, folder, user and host.',
  },
  { name: 'dapr-internal-grpc-listen-address', kind: 'string', default: '', description: 'Address of the internal port; empty: all.' },
  {
    name: 'dapr-listen-addresses',
    kind: 'string',
    default: '',
    description: 'Comma separated addresses of the HTTP and gRPC APIs; empty: all.',
  },
  { name: 'dapr-public-port', kind: 'port', description: 'Port with health and metadata only; unset: off.' },
  { name: 'dapr-public-listen-address', kind: 'string', default: '', description: 'Address of the public port; empty: all.' },
  { name: 'app-port', kind: 'port', description: 'Port of the app; unset or 0: no app.' },
  { name: 'app-protocol', kind: 'string', default: 'http', description: 'http, https, grpc, grpcs or h2c.' },
  { name: 'app-ssl', kind: 'bool', default: 'false', description: 'TLS towards the app.', deprecated: '--app-protocol https or grpcs' },
  { name: 'app-channel-address', kind: 'string', default: '127.0.0.1', description: 'Address of the app.' },
  { name: 'app-max-concurrency', kind: 'int', default: '-1', description: 'Most calls to the app at once; -1 or 0: no bound.' },
  { name: 'resources-path', kind: 'strings', description: 'Folder with resources; may be given several times.' },
  { name: 'components-path', kind: 'string', description: 'One folder with resources.', deprecated: '--resources-path' },
  { name: 'config', kind: 'strings', description: 'Configuration file; several are merged in order.' },
  { name: 'control-plane-address', kind: 'string', default: '', description: 'host:port of the operator, with --mode kubernetes.' },
  { name: 'sentry-address', kind: 'string', default: '', description: 'host:port of the certificate authority (sentry).' },
  {
    name: 'control-plane-trust-domain',
    kind: 'string',
    default: 'localhost',
    description: 'Trust domain of the control plane.',
  },
  { name: 'control-plane-namespace', kind: 'string', default: 'default', description: 'Namespace of the control plane.' },
  { name: 'sentry-request-jwt-audiences', kind: 'strings', description: 'More JWT audiences in certificate requests.', inert: true },
  { name: 'enable-mtls', kind: 'bool', default: 'false', description: 'Mutual TLS between sidecars, with certificates from sentry.' },
  { name: 'allowed-origins', kind: 'string', default: '', description: 'CORS origins, comma separated; empty: off.' },
  { name: 'enable-profiling', kind: 'bool', default: 'false', description: 'Serves CPU and heap profiles on the profile port.' },
  { name: 'profile-port', kind: 'port', default: '7777', description: 'Port of the profiling endpoint, on loopback.' },
  { name: 'max-body-size', kind: 'quantity', default: '4Mi', description: 'Largest request body; 0: no bound.' },
  {
    name: 'dapr-http-max-request-size',
    kind: 'int',
    default: '4',
    description: 'Largest request body in MB.',
    deprecated: '--max-body-size',
  },
  { name: 'read-buffer-size', kind: 'quantity', default: '4Ki', description: 'Largest request head.' },
  {
    name: 'dapr-http-read-buffer-size',
    kind: 'int',
    default: '4',
    description: 'Largest request head in KB.',
    deprecated: '--read-buffer-size',
  },
  { name: 'unix-domain-socket', kind: 'string', description: 'Folder for Unix sockets of the APIs instead of ports.' },
  { name: 'dapr-graceful-shutdown-seconds', kind: 'int', default: '5', description: 'Longest graceful stop.' },
  {
    name: 'dapr-block-shutdown-duration',
    kind: 'duration',
    description: 'Keep working this long after a stop signal, or until the app is unhealthy.',
  },
  { name: 'enable-api-logging', kind: 'bool', description: 'Log every API call; unset: as the Configuration says.' },
  {
    name: 'disable-builtin-k8s-secret-store',
    kind: 'bool',
    default: 'false',
    description: 'No built-in kubernetes secret store.',
  },
  {
    name: 'enable-app-health-check',
    kind: 'bool',
    default: 'false',
    description: 'Probe the app and stop delivering while it is unhealthy.',
  },
  { name: 'app-health-check-path', kind: 'string', default: '/healthz', description: 'Path of the probe.' },
  { name: 'app-health-probe-interval', kind: 'int', default: '5', description: 'Seconds between probes.' },
  { name: 'app-health-probe-timeout', kind: 'int', default: '500', description: 'Milliseconds a probe may take.' },
  { name: 'app-health-threshold', kind: 'int', default: '3', description: 'Failures in a row that make the app unhealthy.' },
  {
    name: 'app-binding-options-timeout',
    kind: 'duration',
    default: '3s',
    description: 'How long the app may take to say whether it listens to an input binding.',
  },
  { name: 'disable-init-endpoints', kind: 'strings', description: 'Calls not made to the app at start: config, subscribe.' },
  {
    name: 'placement-host-address',
    kind: 'string',
    description: 'host:port of placement, comma separated; empty: no actors.',
    inert: true,
  },
  { name: 'scheduler-host-address', kind: 'strings', description: 'host:port of the scheduler.', inert: true },
  { name: 'scheduler-job-streams', kind: 'int', default: '3', description: 'Job streams to each scheduler.', inert: true },
  { name: 'actors-disseminate-timeout', kind: 'duration', default: '30s', description: 'Longest placement dissemination.', inert: true },
  {
    name: 'hot-reload-reconcile-interval',
    kind: 'duration',
    default: '0',
    description: 'Time between full looks at the resources; 0: 60s.',
  },
  {
    name: 'actors-service',
    kind: 'string',
    description: 'type:address of the actors service.',
    deprecated: '--placement-host-address',
    inert: true,
    hidden: true,
  },
  { name: 'reminders-service', kind: 'string', description: 'No effect.', inert: true, hidden: true },
  { name: 'log-level', kind: 'string', default: 'info', description: 'debug, info, warn, error or fatal.' },
  { name: 'log-as-json', kind: 'bool', default: 'false', description: 'Log lines as JSON.' },
  { name: 'log-file', kind: 'string', description: 'File for the log instead of standard output.' },
  { name: 'enable-metrics', kind: 'bool', default: 'true', description: 'Prometheus metrics.' },
  { name: 'metrics-port', kind: 'port', default: '9090', description: 'Port of the metrics.' },
  { name: 'metrics-listen-address', kind: 'string', default: '0.0.0.0', description: 'Address of the metrics.' },
  { name: 'wait', kind: 'bool', default: 'false', description: 'Wait until a running sidecar is ready, then exit.' },
  { name: 'version', kind: 'bool', default: 'false', description: 'Print the version and exit.' },
  { name: 'build-info', kind: 'bool', default: 'false', description: 'Print version and build and exit.' },
  { name: 'help', kind: 'bool', default: 'false', description: 'Print this and exit.' },
  {
    name: 'trust-anchors-file',
    kind: 'string',
    description: 'PEM file of the roots to trust with --enable-mtls, followed as it changes; default DAPR_TRUST_ANCHORS_FILE.',
  },
  {
    name: 'outrider-embedded',
    kind: 'bool',
    default: 'false',
    description: 'Ready-made components on SQLite: statestore, pubsub, lockstore, configstore, secretstore.',
  },
  {
    name: 'outrider-data-dir',
    kind: 'string',
    description: 'Folder of the embedded components and of the registry of sidecars; default ~/.outrider.',
  },
  {
    name: 'outrider-agent-port',
    kind: 'port',
    default: '9001',
    description: 'Loopback port of the agents (logs, metrics, configuration, …), opened when a resource asks for one of them.',
  },
  {
    name: 'outrider-agent-socket',
    kind: 'string',
    description: "Path of a unix socket on which the agents' port is served as well.",
  },
  {
    name: 'outrider-exit-on-unreachable',
    kind: 'bool',
    default: 'false',
    description: 'End when a component cannot reach its server at start, as daprd does, instead of trying again.',
  },
  {
    name: 'outrider-exit-with-app',
    kind: 'bool',
    default: 'false',
    description: 'End (draining, exit code 0) when the app, once seen, has left --app-port for three seconds: for jobs.',
  },
  {
    name: 'outrider-exit-on-bad-reload',
    kind: 'bool',
    default: 'false',
    description: 'End when a changed resource cannot be used, as daprd does, instead of going on with the version before it.',
  },
] as const satisfies readonly FlagSpec[]

export type FlagName = (typeof FLAGS)[number]['name']

/** Flags that are accepted and do nothing yet; the runtime warns once about each one given. */
export const NOT_ACTED_UPON: readonly FlagName[] = FLAGS.filter((flag: FlagSpec) => flag.inert).map((flag) => flag.name)

/** The text of `--help`. */
export function usage(): string {
  const shown: readonly FlagSpec[] = FLAGS.filter((flag: FlagSpec) => !flag.hidden)
  const lines = shown.map((flag) => {
    const head = `      --${flag.name}${flag.kind === 'bool' ? '' : ` ${flag.kind}`}`.padEnd(50)
    const notes = [
      flag.default ? `default ${flag.default}` : '',
      flag.deprecated ? `deprecated, use ${flag.deprecated}` : '',
      flag.inert ? 'no effect yet' : '',
    ]
    const suffix = notes.filter((note) => note !== '').join('; ')
    return `${head}${flag.description}${suffix ? ` (${suffix})` : ''}`
  })
  return `Usage of outriderd:\n${lines.join('\n')}\n`
}
