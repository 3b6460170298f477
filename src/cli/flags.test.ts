import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLAGS } from './flag-table.ts'
import { FlagError, parseFlags, usage } from './flags.ts'

const parse = (argv: string[], env: Record<string, string> = {}) => parseFlags(['--app-id', 'orders', ...argv], env)

function refused(argv: string[], env: Record<string, string> = {}): FlagError {
  try {
    parseFlags(argv, env)
  } catch (error) {
    assert.ok(error instanceof FlagError, String(error))
    return error
  }
  throw new assert.AssertionError({ message: `accepted: ${argv.join(' ')}` })
}

test('values stand after a space or an equals sign, behind one dash or two', () => {
  assert.equal(parse(['--dapr-http-port', '3600']).flags.daprHttpPort, 3600)
  assert.equal(parse(['--dapr-http-port=3600']).flags.daprHttpPort, 3600)
  assert.equal(parse(['-dapr-http-port', '3600']).flags.daprHttpPort, 3600)
  assert.equal(parse(['-dapr-http-port=3600']).flags.daprHttpPort, 3600)
})

test('a value may begin with a dash, and the last of several counts', () => {
  const { flags } = parse(['--app-max-concurrency', '-1', '--metrics-port=1', '--metrics-port=2'])
  assert.equal(flags.appMaxConcurrency, Number.POSITIVE_INFINITY)
  assert.equal(flags.metricsPort, 2)
})

test('booleans are set bare, take a value after = only, and unset api logging stays unset', () => {
  assert.equal(parse(['--log-as-json']).flags.logAsJson, true)
  assert.equal(parse(['--enable-metrics=false']).flags.enableMetrics, false)
  assert.equal(parse([]).flags.enableApiLogging, undefined)
  assert.equal(parse(['--enable-api-logging=false']).flags.enableApiLogging, false)
  const { flags, warnings } = parse(['--enable-mtls', 'false'])
  assert.equal(flags.enableMtls, true)
  assert.match(warnings.join(), /argument "false" is ignored/)
})

test('lists repeat and split on commas', () => {
  assert.deepEqual(parse(['--resources-path', 'a,b', '--resources-path=c']).flags.resourcesPaths, ['a', 'b', 'c'])
  assert.deepEqual(parse(['--components-path', 'old']).flags.resourcesPaths, ['old'])
  assert.deepEqual(parse(['--components-path', 'old', '--resources-path', 'new']).flags.resourcesPaths, ['new'])
})

test('every way of passing no placement address means none', () => {
  for (const empty of ['', ' ', "''", '\'""\'', '"   "']) {
    const { flags } = parse([`--placement-host-address=${empty}`, `--scheduler-host-address=${empty}`])
    assert.deepEqual([flags.placementHostAddress, flags.schedulerHostAddress], [[], []], JSON.stringify(empty))
  }
  assert.deepEqual(parse(['--placement-host-address', 'a:1, b:2']).flags.placementHostAddress, ['a:1', 'b:2'])
})

test('sizes are quantities, 0 has no bound, -1 is the default, and the old flags count in MB and KB', () => {
  const size = (...argv: string[]) => parse(argv).flags.maxBodySize
  assert.equal(size(), 4 * 2 ** 20)
  assert.equal(size('--max-body-size=8Mi'), 8 * 2 ** 20)
  assert.equal(size('--max-body-size=1k'), 1000)
  assert.equal(size('--max-body-size=0'), Number.POSITIVE_INFINITY)
  assert.equal(size('--max-body-size=-1'), 4 * 2 ** 20)
  assert.equal(size('--dapr-http-max-request-size=1'), 2 ** 20)
  assert.equal(size('--dapr-http-max-request-size=1', '--max-body-size=2Mi'), 2 * 2 ** 20)
  assert.equal(parse(['--dapr-http-read-buffer-size=8']).flags.readBufferSize, 8192)
  assert.match(refused(['--app-id=a', '--max-body-size=big']).message, /"big" for "--max-body-size".*4Mi/)
})

test('zero or less falls back to the default where daprd does', () => {
  const { flags } = parse([
    '--app-health-probe-interval=0',
    '--app-health-probe-timeout=0',
    '--app-health-threshold=0',
    '--dapr-graceful-shutdown-seconds=-3',
  ])
  assert.deepEqual(
    [flags.appHealthProbeIntervalMs, flags.appHealthProbeTimeoutMs, flags.appHealthThreshold, flags.gracefulShutdownMs],
    [5000, 500, 3, 5000],
  )
})

test('the environment fills in for absent flags only', () => {
  const env = {
    DAPR_CONTROLPLANE_NAMESPACE: 'sys',
    DAPR_SCHEDULER_HOST_ADDRESS_DNS_A: 's:1',
    NAMESPACE: 'shop',
    DAPR_API_TOKEN: '',
    HOME: '/home/a',
  }
  const { flags } = parse([], env)
  assert.equal(flags.controlPlaneNamespace, 'sys')
  assert.deepEqual(flags.schedulerHostAddress, ['s:1'])
  assert.equal(flags.environment.namespace, 'shop')
  assert.equal(flags.environment.apiToken, undefined)
  assert.equal(flags.outriderDataDir, '/home/a/.outrider')
  assert.equal(parse(['--control-plane-namespace=other'], env).flags.controlPlaneNamespace, 'other')
})

test('an OTLP timeout that is no number ends the start', () => {
  assert.throws(() => parse([], { OTEL_EXPORTER_OTLP_TIMEOUT: '10s' }), /OTEL_EXPORTER_OTLP_TIMEOUT.*milliseconds/)
  const { otel } = parse([], { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf' }).flags
    .environment
  assert.deepEqual([otel.endpoint, otel.protocol, otel.insecure], ['c:4318', 'http', false])
})

test('mistakes in writing end with 2 and name the nearest flag', () => {
  const unknown = refused(['--app-idd=x'])
  assert.equal(unknown.exitCode, 2)
  assert.equal(unknown.message, 'unknown flag: --app-idd; did you mean --app-id?')
  assert.match(refused(['--zzzzzzzz']).message, /see --help/)
  assert.equal(refused(['--app-id']).message, 'flag needs an argument: --app-id')
  assert.match(refused(['--app-id=a', '--app-port=70000']).message, /between 0 and 65535/)
})

test('impossible wishes end with 1', () => {
  assert.equal(refused([]).exitCode, 1)
  assert.match(refused(['--app-id=a.b']).message, /dots/)
  assert.match(refused(['--app-id=a', '--app-port=3500']).message, /^the 'dapr-http-port' argument value 3500 conflicts with 'app-port'/)
  assert.match(refused(['--app-id=a', '--app-protocol=ftp']).message, /http, https, grpc, grpcs, h2c/)
  assert.match(refused(['--app-id=a', '--app-health-probe-timeout=6000']).message, /app-health-probe-timeout/)
  assert.match(refused(['--app-id=a', '--disable-init-endpoints=config,other']).message, /"other".*config, subscribe/)
})

test('--app-ssl lifts the protocol and warns', () => {
  const { flags, warnings } = parse(['--app-ssl', '--app-protocol=GRPC'])
  assert.equal(flags.appProtocol, 'grpcs')
  assert.match(warnings.join(), /--app-ssl is deprecated/)
})

test('every flag of the table is read without a complaint when given its default', () => {
  for (const flag of FLAGS) {
    if (flag.name === 'app-id') continue
    const value = 'default' in flag && flag.default ? flag.default : ''
    const argument = value === '' && (flag.kind as string) === 'bool' ? `--${flag.name}` : `--${flag.name}=${value}`
    assert.ok(parse([argument]).flags.given.has(flag.name), flag.name)
  }
})

test('usage lists every flag that is not hidden', () => {
  const text = usage()
  assert.match(text, /--app-id/)
  assert.doesNotMatch(text, /--reminders-service/)
})
