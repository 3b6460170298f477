import { parseQuantity } from '../../quantity.ts'
import { inventAppId } from '../app-id.ts'
import type { Flag, Parsed } from '../args.ts'
import { type Command, type CommandContext, DATA_DIR_FLAG } from '../command.ts'
import { Instances } from '../instances.ts'
import { daprDirectory, dataDirectory, isDirectory } from '../paths.ts'
import { chooseDefaults, choosePorts, emptySettings, type Settings } from '../settings.ts'
import { CommandError } from '../status.ts'

const FLAGS: readonly Flag[] = [
  { name: 'app-id', short: 'a', type: 'string', help: 'Name by which other apps call this one; invented when absent' },
  { name: 'app-port', short: 'p', type: 'int', default: -1, help: 'Port your app listens on' },
  {
    name: 'app-protocol',
    short: 'P',
    type: 'string',
    default: 'http',
    help: 'How the sidecar talks to your app: http, https, grpc, grpcs, h2c',
  },
  { name: 'dapr-http-port', short: 'H', type: 'int', default: -1, help: "Port of the sidecar's HTTP API; a free one when absent" },
  { name: 'dapr-grpc-port', short: 'G', type: 'int', default: -1, help: "Port of the sidecar's gRPC API; a free one when absent" },
  {
    name: 'resources-path',
    type: 'list',
    help: 'Folder with component YAML; may be repeated. None: ~/.dapr/components, or the embedded defaults',
  },
  { name: 'config', short: 'c', type: 'string', help: 'Configuration file' },
  { name: 'run-file', short: 'f', type: 'string', help: 'Run several apps from this file (a folder: its dapr.yaml; -: standard input)' },
  { name: 'log-level', type: 'string', default: 'info', help: "The sidecar's log: debug, info, warn, error, fatal" },
  { name: 'enable-api-logging', type: 'boolean', help: 'Log every call of the API' },
  { name: 'app-max-concurrency', type: 'int', default: -1, help: 'Most calls to your app at once; -1: no bound' },
  { name: 'enable-app-health-check', type: 'boolean', help: 'Probe your app and deliver nothing while it is unhealthy' },
  { name: 'app-health-check-path', type: 'string', help: 'Path of the probe' },
  { name: 'app-health-probe-interval', type: 'int', help: 'Seconds between probes' },
  { name: 'app-health-probe-timeout', type: 'int', help: 'Milliseconds a probe may take' },
  { name: 'app-health-threshold', type: 'int', help: 'Failures in a row that make your app unhealthy' },
  { name: 'app-channel-address', type: 'string', default: '127.0.0.1', help: 'Address your app listens on' },
  { name: 'max-body-size', type: 'string', default: '4Mi', help: 'Largest request body' },
  { name: 'read-buffer-size', type: 'string', default: '4Ki', help: 'Largest request head' },
  { name: 'metrics-port', short: 'M', type: 'int', default: -1, help: 'Port of the metrics' },
  { name: 'dapr-internal-grpc-port', short: 'I', type: 'int', default: -1, help: 'Port for other sidecars' },
  { name: 'dapr-listen-addresses', type: 'string', help: 'Addresses of the APIs, comma separated' },
  { name: 'unix-domain-socket', short: 'u', type: 'string', help: 'Folder for Unix sockets instead of ports' },
  { name: 'enable-profiling', type: 'boolean', help: 'Profiling endpoint' },
  { name: 'profile-port', type: 'int', default: -1, help: 'Port of the profiling endpoint' },
  { name: 'placement-host-address', type: 'string', help: 'Address of a Dapr placement service' },
  { name: 'scheduler-host-address', type: 'string', help: 'Address of a Dapr scheduler' },
  { name: 'kubernetes', short: 'k', type: 'boolean', help: 'Not supported: run on this machine' },
  { name: 'outrider-embedded', type: 'boolean', help: 'Give the embedded components beside your own resources' },
  DATA_DIR_FLAG,
  {
    name: 'components-path',
    short: 'd',
    type: 'string',
    help: '',
    deprecated: 'This flag is deprecated and will be removed in the future releases. Use "resources-path" flag instead',
  },
  {
    name: 'app-ssl',
    type: 'boolean',
    help: '',
    deprecated:
      'This flag is deprecated and will be removed in the future releases. Use "app-protocol" flag with https or grpcs values instead',
  },
]

export const run: Command = {
  usage: 'run [flags] -- command',
  summary: 'Run your app and a sidecar beside it; both end together.',
  examples: [
    '# A Node app on port 8000; its sidecar answers on http://localhost:3500',
    'outrider run --app-id tasks --app-port 8000 --dapr-http-port 3500 -- node app.mjs',
    '# A sidecar alone, to try the API with curl',
    'outrider run --app-id try --dapr-http-port 3500',
    '# Several apps from a run file',
    'outrider run -f dapr.yaml',
    '# Your own components',
    'outrider run --app-id tasks --resources-path ./components -- python3 app.py',
  ],
  flags: FLAGS,
  run: (context) => (context.parsed.text('run-file') === '' ? runOne(context) : runFromFile(context)),
}

async function runOne({ parsed, reporter }: CommandContext): Promise<number> {
  const dataDir = dataDirectory(parsed.text('outrider-data-dir'))
  const running = new Instances(dataDir).running().filter((instance) => instance.daprdPid !== 0)
  const settings = readSettings(parsed, dataDir, new Set(running.map((instance) => instance.appId)))
  for (const [name, text] of [
    ['max request body size', settings.maxBodySize],
    ['http read buffer size', settings.readBufferSize],
  ] as const) {
    if (text !== '' && parseQuantity(text) === undefined) {
      throw new CommandError(
        `invalid ${name}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
        'write it as 4Mi, 512Ki or a number of bytes',
      )
    }
  }
  const missing = settings.resourcesPaths.find((path) => !isDirectory(path))
  if (missing !== undefined) {
    const all = settings.resourcesPaths.map((path) => JSON.stringify(path)).join(' ')
    throw new CommandError(
      `error validating resources path [${all}] : stat ${missing}: no such file or directory`,
      'name a folder with component YAML, or leave --resources-path out for the embedded defaults',
    )
  }
  const note = chooseDefaults(settings, daprDirectory(parsed.text('runtime-path')))
  if (note) reporter.info(note)
  if (settings.unixDomainSocket !== '') {
    reporter.warning('Unix domain sockets are currently a preview feature')
    settings.daprHttpPort = 0
    settings.daprGrpcPort = 0
  }
  await choosePorts(settings)
  const { runSingle } = await import('../run-single.ts')
  const nowhere = { runTemplatePath: '', runTemplateName: '', appLogPath: '', daprdLogPath: '' }
  return runSingle({ settings, command: parsed.words, cwd: process.cwd(), env: {}, ...nowhere }, reporter)
}

async function runFromFile({ parsed, reporter }: CommandContext): Promise<number> {
  if (parsed.on('kubernetes')) throw new CommandError('run -k is not supported', 'leave -k out to run the apps on this machine')
  const honoured = new Set(['run-file', 'kubernetes', 'help', 'runtime-path', 'log-as-json', 'outrider-data-dir', 'outrider-embedded'])
  const ignored = parsed.given.filter((name) => !honoured.has(name))
  if (ignored.length > 0) {
    reporter.warning(
      `The following flags are ignored when using --run-file and should be configured in the run file instead: ${ignored.join(', ')}`,
    )
  }
  const { locateRunFile, readRunFile } = await import('../run-file.ts')
  const { runMany } = await import('../run-many.ts')
  const file = readRunFile(locateRunFile(parsed.text('run-file')), dataDirectory(parsed.text('outrider-data-dir')))
  if (file.plans.length === 0) throw new CommandError('No apps to run', `list them under apps: in ${file.path}`)
  for (const note of file.notes) reporter.info(note)
  if (parsed.on('outrider-embedded')) for (const plan of file.plans) plan.settings.embedded = true
  return runMany(file.plans, { reporter })
}

function readSettings(parsed: Parsed, dataDir: string, taken: ReadonlySet<string>): Settings {
  const settings = emptySettings(parsed.text('app-id') || inventAppId(taken), dataDir)
  const port = (name: string) => Math.max(0, parsed.number(name))
  settings.appPort = port('app-port')
  settings.daprHttpPort = port('dapr-http-port')
  settings.daprGrpcPort = port('dapr-grpc-port')
  settings.daprInternalGrpcPort = port('dapr-internal-grpc-port')
  settings.metricsPort = port('metrics-port')
  settings.profilePort = port('profile-port')
  settings.appProtocol = parsed.text('app-protocol')
  settings.appSsl = parsed.on('app-ssl')
  settings.appChannelAddress = parsed.text('app-channel-address')
  settings.resourcesPaths = parsed.list('resources-path')
  if (settings.resourcesPaths.length === 0 && parsed.text('components-path') !== '')
    settings.resourcesPaths = [parsed.text('components-path')]
  settings.config = parsed.text('config')
  settings.logLevel = parsed.text('log-level')
  settings.logAsJson = parsed.on('log-as-json')
  settings.apiListenAddresses = parsed.text('dapr-listen-addresses')
  settings.appMaxConcurrency = parsed.number('app-max-concurrency')
  settings.enableProfiling = parsed.on('enable-profiling')
  settings.enableApiLogging = parsed.on('enable-api-logging')
  settings.enableAppHealthCheck = parsed.on('enable-app-health-check')
  settings.appHealthCheckPath = parsed.text('app-health-check-path')
  settings.appHealthProbeInterval = parsed.number('app-health-probe-interval')
  settings.appHealthProbeTimeout = parsed.number('app-health-probe-timeout')
  settings.appHealthThreshold = parsed.number('app-health-threshold')
  settings.maxBodySize = parsed.text('max-body-size')
  settings.readBufferSize = parsed.text('read-buffer-size')
  settings.unixDomainSocket = parsed.text('unix-domain-socket')
  settings.placementHostAddress = parsed.text('placement-host-address')
  settings.schedulerHostAddress = parsed.text('scheduler-host-address')
  settings.embedded = parsed.on('outrider-embedded')
  return settings
}
