import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLogger } from '../telemetry/log.ts'
import { loadResources } from './load.ts'

async function folder(t: TestContext, files: Record<string, string>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'outrider-resources-'))
  t.after(() => rm(path, { recursive: true }))
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  return path
}

async function load(paths: string[], options: { appId?: string; namespace?: string } = {}) {
  const lines: string[] = []
  const log = createLogger({ level: 'debug', json: false, appId: 'orders', version: '0', write: (line) => lines.push(line) })
  return { ...(await loadResources({ paths, appId: 'orders', namespace: '', log, ...options })), lines }
}

const component = (name: string, type = 'state.in-memory', rest = '') =>
  `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: ${name}\nspec:\n  type: ${type}\n  version: v1\n${rest}`

test('a Component is read whole', async (t) => {
  const path = await folder(t, {
    'a.yaml': component(
      'store',
      'state.redis',
      `  ignoreErrors: true
  initTimeout: 1m30s
  metadata:
  - name: redisHost
    value: "localhost:6379"
  - name: count
    value: 00123
  - name: flag
    value: true
  - name: object
    value: {a: [1, "x"]}
  - name: pw
    secretKeyRef: {name: redis, key: pw}
  - name: fromEnv
    envRef: REDIS_DB
auth:
  secretStore: vault
scopes: [orders]
`,
    ),
  })
  const { components, rejected } = await load([path])
  assert.deepEqual(rejected, [])
  assert.deepEqual(components, [
    {
      name: 'store',
      namespace: '',
      scopes: ['orders'],
      source: { file: join(path, 'a.yaml'), line: 1 },
      type: 'state.redis',
      version: 'v1',
      metadata: [
        { name: 'redisHost', value: 'localhost:6379' },
        { name: 'count', value: '00123' },
        { name: 'flag', value: 'true' },
        { name: 'object', value: '{"a":[1,"x"]}' },
        { name: 'pw', secretKeyRef: { name: 'redis', key: 'pw' } },
        { name: 'fromEnv', envRef: 'REDIS_DB' },
      ],
      ignoreErrors: true,
      initTimeoutMs: 90_000,
      auth: { secretStore: 'vault' },
    },
  ])
})

test('JSON in a .yaml file, a name that is a number, and null fields are read', async (t) => {
  const json = {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 123, creationTimestamp: null },
    spec: { type: 'state.sqlite', metadata: null },
  }
  const { components } = await load([await folder(t, { '0.yml': JSON.stringify(json) })])
  assert.deepEqual(
    components.map(({ name, metadata, initTimeoutMs }) => [name, metadata, initTimeoutMs]),
    [['123', [], 5000]],
  )
})

test('only yaml files directly in the folders, in the order of folders, names and documents', async (t) => {
  const first = await folder(t, {
    'b.yaml': `---\n${component('three')}\n--- # next\n${component('four')}`,
    'a.yml': `${component('one')}\n---\n---\n${component('two')}`,
    'c.json': '{}',
  })
  await mkdir(join(first, 'inner.yaml'))
  await writeFile(join(first, 'inner.yaml', 'x.yaml'), component('never'))
  const second = await folder(t, { 'a.yaml': component('five') })
  const { components, lines } = await load([first, second])
  assert.deepEqual(
    components.map(({ name }) => name),
    ['one', 'two', 'three', 'four', 'five'],
  )
  assert.ok(lines.some((line) => line.includes('A non-YAML Component file c.json was detected')))
})

test('a broken document is named by file, line and column and takes no other down', async (t) => {
  const path = await folder(t, {
    'a.yaml': `${component('good')}---\nfoo: [\n---\n${component('bad').replace('  type: state.in-memory\n', '  metadata: 5\n')}---\n${component('alsogood')}`,
  })
  const { components, rejected, lines } = await load([path])
  assert.deepEqual(
    components.map(({ name }) => name),
    ['good', 'alsogood'],
  )
  assert.equal(rejected.length, 2)
  assert.deepEqual(
    [rejected[0]?.line, rejected[1]?.line, rejected[1]?.column, rejected[1]?.name, rejected[1]?.kind],
    [9, 16, 13, 'bad', 'Component'],
  )
  assert.match(rejected[1]?.message ?? '', /spec\.metadata must be a list, not 5.*spec\.type is missing/)
  assert.ok(lines.some((line) => line.includes('level=error') && line.includes(`${join(path, 'a.yaml')}:16:13`)))
})

test('a wrong kind of dapr.io is refused with what was expected; resources of others are left alone', async (t) => {
  const path = await folder(t, {
    'a.yaml': `${component('x').replace('kind: Component', 'kind: Componnent')}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n`,
  })
  const { rejected, components } = await load([path])
  assert.equal(components.length, 0)
  assert.equal(rejected.length, 1)
  assert.match(rejected[0]?.message ?? '', /Componnent.*one of Component, Configuration/)
})

test('an unknown field is reported and the resource still loads', async (t) => {
  const { components, lines } = await load([await folder(t, { 'a.yaml': component('x', 'state.in-memory', '  metdata: []\n') })])
  assert.equal(components.length, 1)
  assert.ok(
    lines.some((line) => line.includes('a.yaml:8:3') && line.includes('spec.metdata is not a known field')),
    lines.join('\n'),
  )
})

test('a TrafficPolicy is read whole, and every mistake is named by line and path', async (t) => {
  const policy = (name: string, policies: string, targets = '{apps: {shop: {hedge: h}}}') =>
    `apiVersion: outrider.dev/v1\nkind: TrafficPolicy\nmetadata: {name: ${name}}\nspec:\n  policies:\n    ${policies}\n  targets:\n    ${targets}\n`
  const good = policy('good', 'hedges: {h: {delay: 1m30s, methods: [GET]}}')
  const wrong: [string, RegExp][] = [
    [policy('w', 'hedges: {h: {delay: soon}}'), /^6:25 spec\.policies\.hedges\.h\.delay must match .*"soon"/],
    [policy('w', 'hedges: {h: {maxAttempts: 9}}'), /^6:31 spec\.policies\.hedges\.h\.maxAttempts must be from 2 to 5, not 9/],
    [policy('w', 'hedges: {h: {dely: 1s}}'), /^6:18 spec\.policies\.hedges\.h\.dely is not a known field; known here: delay/],
    [policy('w', 'rateLimits: {r: {burst: 1}}'), /^6:21 spec\.policies\.rateLimits\.r\.requestsPerSecond is missing/],
    [policy('w', 'hedges: {g: {}}'), /^8:27 spec\.targets\.apps\.shop\.hedge names "h", but spec\.policies\.hedges has g/],
    [policy('w', 'faults: {}', '{inbound: {fault: f}}'), /^8:23 spec\.targets\.inbound\.fault names "f", but .* has none/],
    [good.replace('dev/v1', 'dev/v2'), /^1:1 TrafficPolicy of outrider\.dev\/v2 is not a kind/],
  ]
  for (const [text, message] of wrong) {
    const { trafficPolicies, rejected } = await load([await folder(t, { 'a.yaml': `${text}---\n${good}` })])
    assert.deepEqual(
      trafficPolicies.map(({ name }) => name),
      ['good'],
    )
    assert.match(rejected.map((one) => `${one.line}:${one.column} ${one.message}`).join('\n'), message)
  }
  const { trafficPolicies } = await load([await folder(t, { 'a.yaml': good })])
  assert.deepEqual(trafficPolicies[0]?.spec, {
    policies: { hedges: { h: { delay: '1m30s', methods: ['GET'] } } },
    targets: { apps: { shop: { hedge: 'h' } } },
  })
})

test('a StoreAndForward gets its defaults, and every mistake is named by line and path', async (t) => {
  const policy = (spec: string) => `apiVersion: outrider.dev/v1\nkind: StoreAndForward\nmetadata: {name: keep}\nspec:\n  ${spec}\n`
  const read = async (spec: string) => load([await folder(t, { 'a.yaml': policy(spec) })])
  const wrong: [string, RegExp][] = [
    ['maxAge: 1h', /^5:3 spec\.pubsubs is missing/],
    ['pubsubs: []', /^5:12 spec\.pubsubs must have at least 1 items/],
    ['pubsubs: [a, b, a]', /^5:12 spec\.pubsubs names "a" twice/],
    ['{pubsubs: [a], maxBytes: 64MB}', /^5:28 spec\.maxBytes must be a quantity such as 64Mi, not "64MB"/],
    ['{pubsubs: [a], maxBytes: 10}', /^5:28 spec\.maxBytes must be from 1Ki to 8Pi, not 10/],
    ['{pubsubs: [a], maxAge: soon}', /^5:26 spec\.maxAge must match .*"soon"/],
    ['{pubsubs: [a], timeout: 0s}', /^5:27 spec\.timeout must be from 1ms to 20s, not 0s/],
    ['{pubsubs: [a], whenFull: dropOldest}', /^5:28 spec\.whenFull must be one of refuse, not "dropOldest"/],
    ['{pubsubs: [a], maxSize: 1}', /^5:18 spec\.maxSize is not a known field; known here: pubsubs, maxBytes/],
  ]
  for (const [spec, message] of wrong) {
    const { storeAndForwards, rejected } = await read(spec)
    assert.deepEqual(storeAndForwards, [])
    assert.match(rejected.map((one) => `${one.line}:${one.column} ${one.message}`).join('\n'), message)
  }
  assert.deepEqual((await read('pubsubs: [a]')).storeAndForwards[0]?.spec, {
    pubsubs: ['a'],
    maxBytes: 67_108_864,
    maxAge: 86_400_000,
    timeout: 8000,
    synchronous: 'normal',
  })
  const { storeAndForwards } = await read('{pubsubs: [a, b], maxBytes: 1048576, maxAge: 1h30m, timeout: 500ms, synchronous: full}')
  assert.deepEqual(storeAndForwards[0]?.spec, {
    pubsubs: ['a', 'b'],
    maxBytes: 1_048_576,
    maxAge: 5_400_000,
    timeout: 500,
    synchronous: 'full',
  })
})

test('scopes and namespaces leave out what is for others', async (t) => {
  const named = (name: string, namespace: string) =>
    component(name).replace(`name: ${name}\n`, `name: ${name}\n  namespace: ${namespace}\n`)
  const path = await folder(t, {
    'a.yaml': [
      named('mine', 'shop'),
      named('theirs', 'bank'),
      component('any'),
      component('scoped', 'state.in-memory', 'scopes: [other]\n'),
    ].join('---\n'),
  })
  assert.deepEqual(
    (await load([path], { namespace: 'shop' })).components.map(({ name }) => name),
    ['mine', 'any'],
  )
  assert.deepEqual(
    (await load([path])).components.map(({ name }) => name),
    ['mine', 'theirs', 'any'],
  )
  assert.deepEqual(
    (await load([path], { appId: 'other' })).components.map(({ name }) => name),
    ['mine', 'theirs', 'any', 'scoped'],
  )
})

test("one name twice is fatal in daprd's words, all pairs at once", async (t) => {
  const path = await folder(t, {
    '1.yaml': component('foo', 'secretstores.local.file'),
    '2.yaml': `${component('foo')}---\n${component('foo', 'pubsub.in-memory')}`,
  })
  await assert.rejects(load([path]), {
    message:
      'failed to load components: duplicate definition of Component name foo (state.in-memory/v1) with existing foo (secretstores.local.file/v1)\n' +
      'duplicate definition of Component name foo (pubsub.in-memory/v1) with existing foo (secretstores.local.file/v1)',
  })
})

test('a folder that is not there is fatal and named', async () => {
  await assert.rejects(load(['/nonexistent/outrider']), {
    message: 'failed to load components: open /nonexistent/outrider: no such file or directory',
  })
})

test('both versions of Subscription come out in one shape', async (t) => {
  const path = await folder(t, {
    'a.yaml': `apiVersion: dapr.io/v1alpha1
kind: Subscription
metadata: {name: old}
spec: {pubsubname: pubsub, topic: a, route: /a, bulkSubscribe: {enabled: true}}
scopes: [orders]
---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {name: new}
spec:
  pubsubname: pubsub
  topic: b
  deadLetterTopic: dead
  routes:
    rules: [{match: event.type == "x", path: /x}]
    default: /b
`,
  })
  const { subscriptions } = await load([path])
  assert.deepEqual(
    subscriptions.map(({ name, topic, routes, deadLetterTopic, bulkSubscribe }) => ({
      name,
      topic,
      routes,
      deadLetterTopic,
      bulkSubscribe,
    })),
    [
      { name: 'old', topic: 'a', routes: { rules: [], default: '/a' }, deadLetterTopic: undefined, bulkSubscribe: { enabled: true } },
      {
        name: 'new',
        topic: 'b',
        routes: { rules: [{ match: 'event.type == "x"', path: '/x' }], default: '/b' },
        deadLetterTopic: 'dead',
        bulkSubscribe: undefined,
      },
    ],
  )
})

test('Resiliency is read wherever it stands in a file, and a bad one is named as daprd does', async (t) => {
  const resiliency = (name: string, spec: string) =>
    `apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: ${name}}\nspec: ${spec}\n`
  const path = await folder(t, {
    'a.yaml': `${component('x')}---\n${resiliency('good', '{policies: {timeouts: {t: 500}}}')}---\n${resiliency('myresiliency', '{policies: 7}')}`,
  })
  const { resiliencies, lines } = await load([path])
  assert.deepEqual(
    resiliencies.map(({ name, spec }) => [name, spec]),
    [['good', { policies: { timeouts: { t: '500' } } }]],
  )
  assert.ok(lines.some((line) => line.includes('Could not read resiliency policy myresiliency')))
})

test('HTTPEndpoint, MCPServer and WorkflowAccessPolicy are read and checked', async (t) => {
  const head = (kind: string, name: string) => `apiVersion: dapr.io/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\n`
  const rule = (rest: string) => `spec: {rules: [{callers: [{appID: a}], ${rest}}]}\n`
  const documents = [
    `${head('HTTPEndpoint', 'web')}spec: {baseUrl: "https://example.com", headers: [{name: h, value: 1}]}\n`,
    `${head('MCPServer', 'tools')}spec: {endpoint: {streamableHTTP: {url: "http://localhost:1/mcp"}}}\n`,
    `${head('MCPServer', 'two')}spec: {endpoint: {streamableHTTP: {url: "http://localhost:1"}, sse: {url: "http://localhost:1"}}}\n`,
    `${head('WorkflowAccessPolicy', 'fine')}${rule('workflows: [{name: "*", operations: [schedule]}]')}`,
    `${head('WorkflowAccessPolicy', 'empty-rule')}${rule('workflows: []')}`,
    `${head('WorkflowAccessPolicy', 'empty-ops')}${rule('workflows: [{name: w, operations: []}]')}`,
    `${head('WorkflowAccessPolicy', 'requires-on-terminate')}${rule('workflows: [{name: w, operations: [terminate], requires: [{eventType: workflow.started}]}]')}`,
  ]
  const { httpEndpoints, mcpServers, workflowAccessPolicies, rejected, lines } = await load([
    await folder(t, { 'a.yaml': documents.join('---\n') }),
  ])
  assert.deepEqual(
    httpEndpoints.map(({ baseUrl, headers }) => [baseUrl, headers]),
    [['https://example.com', [{ name: 'h', value: '1' }]]],
  )
  assert.deepEqual(
    mcpServers.map(({ name }) => name),
    ['tools'],
  )
  assert.deepEqual(
    workflowAccessPolicies.map(({ name }) => name),
    ['fine'],
  )
  assert.deepEqual(
    rejected.map(({ name }) => name),
    ['two', 'empty-rule', 'empty-ops', 'requires-on-terminate'],
  )
  assert.ok(lines.some((line) => line.includes('\\"empty-rule\\" failed validation')))
})

test('merge keys and aliases are followed, and an alias bomb is refused', async (t) => {
  const nested = Array.from({ length: 9 }, (_, level) => `x${level + 1}: &x${level + 1} [${Array(10).fill(`*x${level}`).join(', ')}]`).join(
    '\n  ',
  )
  const bomb = `${component('bomb')}  metadata:\n  - name: a\n    value: *x9\n`.replace(
    'kind: Component\n',
    `kind: Component\nstatus:\n  x0: &x0 [1]\n  ${nested}\n`,
  )
  const { components, rejected } = await load([
    await folder(t, {
      'a.yaml': `${component('x').replace('spec:\n', 'status: &base {ignoreErrors: true, version: v9}\nspec:\n  <<: *base\n')}`,
      'b.yaml': bomb,
    }),
  ])
  assert.deepEqual(
    components.map(({ name, ignoreErrors, version }) => [name, ignoreErrors, version]),
    [['x', true, 'v1']],
  )
  assert.match(rejected[0]?.message ?? '', /more than 100000 values/)
})

test('JSON in quotes may be indented with tabs, as Go reads it', async (t) => {
  const json = `'{\n\t  "/a": "/b",\n\t\t"/c": "/d"\n\t }'`
  const path = await folder(t, {
    'a.yaml': component('alias', 'middleware.http.routeralias', `  metadata:\n  - name: routes\n    value: ${json}\n`),
  })
  const { components, rejected } = await load([path])
  assert.deepEqual(rejected, [])
  assert.deepEqual(JSON.parse(components[0]?.metadata[0]?.value ?? ''), { '/a': '/b', '/c': '/d' })
})

test('a quoted text may be indented less than its field, as Go reads it', async (t) => {
  const path = await folder(t, {
    'a.yaml': `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n name: a\nspec:\n type: state.in-memory\n metadata:\n - name: routes\n   value: '{\n    "/it''s": "/b",\n   "x": "\\"y"\n   }'\n`,
  })
  const { components, rejected } = await load([path])
  assert.deepEqual(rejected, [])
  assert.deepEqual(JSON.parse(components[0]?.metadata[0]?.value ?? ''), { "/it's": '/b', x: '"y' })
})
