import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { freePort } from './servers/process.ts'

// Whatever a sidecar was told in confidence is in nothing that it tells.
const CANARY = 'canary-7f3a91'

/** Where secrets come from: what is written in the resource, a secret store, the environment; and as parts of larger texts. */
const plain = (name: string, value: string) => ({ name, value })
const stored = (name: string) => ({ name, secretKeyRef: { name: 'password', key: 'password' } })
const fromEnv = (name: string) => ({ name, envRef: 'CANARY_IN_ENV' })
const components: readonly [name: string, type: string, metadata: object[]][] = [
  ['web', 'bindings.http', [plain('url', 'http://127.0.0.1:1'), plain('securityToken', CANARY), plain('securityTokenHeader', 'x-token')]],
  ['redis-store', 'state.redis', [plain('redisHost', '127.0.0.1:1'), stored('redisPassword')]],
  ['redis-events', 'pubsub.redis', [plain('redisHost', '127.0.0.1:1'), fromEnv('redisPassword')]],
  ['postgres', 'state.postgresql', [plain('connectionString', `postgres://user:${CANARY}@127.0.0.1:1/db?connect_timeout=1`)]],
  ['mysql', 'state.mysql', [plain('connectionString', `user:${CANARY}@tcp(127.0.0.1:1)/?allowNativePasswords=true`)]],
  ['rabbit', 'pubsub.rabbitmq', [plain('connectionString', `amqp://user:${CANARY}@127.0.0.1:1`)]],
  ['mqtt', 'pubsub.mqtt3', [plain('url', `mqtt://user:${CANARY}@127.0.0.1:1`)]],
  [
    'kafka',
    'pubsub.kafka',
    [plain('brokers', '127.0.0.1:1'), plain('authType', 'password'), plain('saslUsername', 'a'), stored('saslPassword')],
  ],
  ['etcd', 'state.etcd', [plain('endpoints', '127.0.0.1:1'), plain('username', 'a'), plain('password', CANARY)]],
  ['vault', 'secretstores.hashicorp.vault', [plain('vaultAddr', 'http://127.0.0.1:1'), plain('vaultToken', CANARY)]],
  ['mail', 'bindings.smtp', [plain('host', '127.0.0.1'), plain('port', '1'), plain('user', 'a'), plain('password', CANARY)]],
  ['talk', 'conversation.openai', [plain('key', CANARY), plain('endpoint', 'http://127.0.0.1:1'), plain('model', 'm')]],
]

const component = (name: string, type: string, metadata: readonly object[]) =>
  JSON.stringify({
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name },
    spec: { type, version: 'v1', ignoreErrors: true, metadata },
    auth: { secretStore: 'secrets' },
  })

function configuration(collector: number): string {
  return JSON.stringify({
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Configuration',
    metadata: { name: 'traced' },
    spec: {
      tracing: {
        samplingRate: '1',
        stdout: true,
        otel: {
          endpointAddress: `127.0.0.1:${collector}`,
          protocol: 'http',
          isSecure: false,
          headers: [{ name: 'authorization', value: CANARY }],
        },
      },
      metrics: { recordErrorCodes: true, http: { increasedCardinality: true } },
      nameResolution: { component: 'sqlite', configuration: { connectionString: 'names.db' } },
    },
  })
}

test('what was said in confidence is in no log, answer, metric, trace or bundle', { timeout: 120_000 }, async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'outrider-canary-'))
  const resources = join(home, 'resources')
  mkdirSync(resources)
  const said: [where: string, text: string][] = []
  const collector = createServer(async (request, response) => {
    said.push([`collector ${request.url}`, Buffer.concat((await request.toArray()) as Buffer[]).toString('latin1')])
    response.end()
  }).listen(0, '127.0.0.1')
  await once(collector, 'listening')
  t.after(() => {
    collector.close().closeAllConnections()
    rmSync(home, { recursive: true, force: true })
  })
  const port = (collector.address() as AddressInfo).port
  writeFileSync(join(home, 'secrets.json'), JSON.stringify({ password: CANARY }))
  writeFileSync(
    join(resources, '0.yaml'),
    component('secrets', 'secretstores.local.file', [plain('secretsFile', join(home, 'secrets.json'))]),
  )
  for (const [name, type, metadata] of components) writeFileSync(join(resources, `${name}.yaml`), component(name, type, metadata))
  writeFileSync(join(home, 'config.yaml'), configuration(port))
  const appId = `canary-${process.pid}`
  const sidecar = await startUnderTool(
    home,
    [
      ...['--app-id', appId, '--resources-path', resources, '--config', join(home, 'config.yaml')],
      ...[
        '--log-level',
        'debug',
        '--log-as-json',
        '--enable-api-logging',
        '--enable-profiling',
        '--profile-port',
        String(await freePort()),
      ],
    ],
    {
      OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/protobuf',
      OTEL_EXPORTER_OTLP_METRICS_HEADERS: `authorization=${CANARY}`,
    },
  )
  await using _sidecar = sidecar
  await askEverything(sidecar, said)
  await change(sidecar, resources)
  await askEverything(sidecar, said)
  for (const command of [['status', '--app-id', appId], ['list'], ['components', 'check', resources]])
    said.push([`outrider ${command.join(' ')}`, await outrider(command, home)])
  const bundle = join(home, 'bundle.tar.gz')
  said.push(['outrider debug bundle', await outrider(['debug', 'bundle', '--app-id', appId, '-o', bundle], home)])
  said.push(['the bundle', gunzipSync(readFileSync(bundle)).toString('latin1')])
  await sidecar.stop()
  said.push(['log', sidecar.log()])

  const has = (where: string, pattern: RegExp) =>
    assert.ok(
      said.some(([at, text]) => at.startsWith(where) && pattern.test(text)),
      `${where} does not say ${pattern}`,
    )
  has('collector /v1/traces', /redis-store/)
  has('collector /v1/metrics', /dapr_http_server_request_count/)
  has('log', /redis-store.*cannot reach/)
  has('log', /"scope":"dapr.runtime.http-info"|"method":"GET \/v1.0\/state/)
  has('metrics', /dapr_error_code_total/)
  has('metadata', /redis-store/)
  has('outrider status', /redis-store/)
  has('outrider components check', /postgres/)
  has('the bundle', /hidden/)
  const told = said.flatMap(([where, text]) => {
    const at = text.indexOf(CANARY)
    return at < 0 ? [] : [`${where}: …${text.slice(Math.max(0, at - 200), at + 40)}…`]
  })
  assert.deepEqual(told, [])
})

/** All that the API and the other ports tell, and what goes wrong with each component. */
async function askEverything(sidecar: Running, said: [string, string][]): Promise<void> {
  const ask = async (where: string, url: string, body?: unknown, token = CANARY) => {
    const reply = await fetch(url, {
      headers: { 'dapr-api-token': token, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(20_000),
      ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
    })
    said.push([where, JSON.stringify([...reply.headers]) + (await reply.text())])
  }
  const { http } = sidecar
  await Promise.all([
    ask('metadata', `${http}/v1.0/metadata`),
    ask('health', `${http}/v1.0/healthz?verbose`),
    ask('health', `${http}/v1.0/healthz`),
    ask('refused', `${http}/v1.0/metadata`, undefined, `${CANARY}-wrong`),
    ...['redis-store', 'postgres', 'mysql', 'etcd', 'nowhere'].map((store) => ask(`state ${store}`, `${http}/v1.0/state/${store}/key`)),
    ...['redis-events', 'rabbit', 'mqtt', 'kafka', 'nowhere'].map((pubsub) =>
      ask(`publish ${pubsub}`, `${http}/v1.0/publish/${pubsub}/topic`, {}),
    ),
    ask('secrets vault', `${http}/v1.0/secrets/vault/key`),
    ask('binding web', `${http}/v1.0/bindings/web`, { operation: 'get' }),
    ask('binding mail', `${http}/v1.0/bindings/mail`, {
      operation: 'create',
      data: 'x',
      metadata: { emailFrom: 'a@b', emailTo: 'c@d', subject: 's' },
    }),
    ask('conversation', `${http}/v1.0-alpha1/conversation/talk/converse`, { inputs: [{ content: 'hello' }] }),
  ])
  await ask('metrics', sidecar.metrics)
}

/** Versions that are refused, each in another way, while it runs. */
async function change(sidecar: Running, resources: string): Promise<void> {
  writeFileSync(
    join(resources, 'broken.yaml'),
    `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: broken}\nspec:\n  metadata:\n  - name: password\n    value: ${CANARY}: x\n`,
  )
  writeFileSync(join(resources, 'wrong.yaml'), component('wrong', 'state.redis', [{ name: 'redisPassword', secret: CANARY }]))
  writeFileSync(
    join(resources, 'web.yaml'),
    component('web', 'bindings.http', [plain('url', `http://user:${CANARY}@%zz`), plain('securityToken', CANARY)]),
  )
  writeFileSync(
    join(resources, 'postgres.yaml'),
    component('postgres', 'state.postgresql', [plain('connectionString', `postgres://user:${CANARY}@[`)]),
  )
  writeFileSync(join(resources, 'mysql.yaml'), component('mysql', 'state.mysql', [plain('connectionString', `user:${CANARY}@nothing`)]))
  writeFileSync(
    join(resources, 'rabbit.yaml'),
    component('rabbit', 'pubsub.rabbitmq', [plain('connectionString', `ftp://user:${CANARY}@[`)]),
  )
  writeFileSync(join(resources, 'mqtt.yaml'), component('mqtt', 'pubsub.mqtt3', [plain('url', `nothing://user:${CANARY}@[`)]))
  writeFileSync(join(resources, 'etcd.yaml'), component('etcd', 'state.etcd', [plain('endpoints', ''), plain('password', CANARY)]))
  writeFileSync(join(resources, 'last.yaml'), component('last', 'state.in-memory', []))
  const deadline = performance.now() + 20_000
  while (!sidecar.log().includes('Component loaded: last (state.in-memory/v1)')) {
    assert.ok(performance.now() < deadline, sidecar.log())
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const SECRET_ENV = { DAPR_API_TOKEN: CANARY, APP_API_TOKEN: CANARY, CANARY_IN_ENV: CANARY }
const tool = join(import.meta.dirname, '../bin/outrider')

interface Running extends AsyncDisposable {
  http: string
  metrics: string
  log(): string
  stop(): Promise<void>
}

/** `outrider run`, for its other commands know of no other sidecars. */
async function startUnderTool(home: string, args: readonly string[], env: Record<string, string>): Promise<Running> {
  const [http, metrics] = [await freePort(), await freePort()]
  const ports = ['--dapr-http-port', String(http), '--metrics-port', String(metrics)]
  const child = spawn(tool, ['run', ...args, ...ports, '--outrider-data-dir', home], {
    cwd: home,
    env: { ...process.env, ...SECRET_ENV, ...env },
  })
  let log = ''
  const started = Promise.withResolvers<void>()
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      log += part
      if (log.includes("You're up and running")) started.resolve()
    })
  const exited = once(child, 'exit').then(() => started.reject(new Error(log)))
  const stop = async () => {
    if (child.exitCode === null) child.kill('SIGINT')
    await exited
  }
  await started.promise
  return { http: `http://127.0.0.1:${http}`, metrics: `http://127.0.0.1:${metrics}/`, log: () => log, stop, [Symbol.asyncDispose]: stop }
}

async function outrider(args: readonly string[], home: string): Promise<string> {
  const child = spawn(tool, [...args], { cwd: home, env: { ...process.env, ...SECRET_ENV, OUTRIDER_DATA_DIR: home } })
  const [out, error] = await Promise.all([child.stdout.toArray(), child.stderr.toArray()])
  return Buffer.concat([...out, ...error]).toString()
}
