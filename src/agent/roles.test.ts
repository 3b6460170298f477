import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { RoleResource } from '../resources/role-kinds.ts'
import { createLogger } from '../telemetry/log.ts'
import { get } from '../transport/node-http.ts'
import type { OpenRole, RoleContext } from './role.ts'
import { Roles } from './roles.ts'

const role = (name: string, spec: Record<string, unknown> = {}): RoleResource => ({
  kind: 'Echo',
  name,
  namespace: '',
  scopes: [],
  source: { file: 'test.yaml', line: 1 },
  spec,
})

/** Answers on `spec.path` with `spec.says`; refuses to open while `spec.says` is `no`. */
const echo: OpenRole = async ({ spec }) => {
  if (spec.says === 'no') throw new Error('it says no')
  return {
    routes: [{ methods: ['GET'], path: String(spec.path ?? '/echo'), handle: ({ response }) => void response.end(String(spec.says)) }],
    metrics: () => `outrider_echo{says="${spec.says}"} 1\n`,
    status: () => ({ says: spec.says }),
    async [Symbol.asyncDispose]() {},
  }
}

async function rolesWith(t: TestContext, open: OpenRole = echo, port: { token?: string; socket?: string } = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'outrider-roles-'))
  const stop = new AbortController()
  const seen: string[] = []
  let wake = () => {}
  const roles = new Roles({
    appId: 'roles-test',
    namespace: '',
    log: createLogger({ level: 'fatal', json: false, appId: 'roles-test', version: '', write: () => {} }),
    dataDir,
    env: {},
    components: {} as RoleContext['components'],
    port: { host: '127.0.0.1', port: 0, ...port },
    part: (name, _kind, state, error) => {
      seen.push(`${name} ${state}${error ? `: ${(error as Error).message}` : ''}`)
      wake()
    },
    signal: stop.signal,
    kinds: { Echo: async () => open },
  })
  t.after(async () => {
    stop.abort()
    await roles[Symbol.asyncDispose]()
    rmSync(dataDir, { recursive: true, force: true })
  })
  const until = async (line: string) => {
    while (!seen.includes(line)) await new Promise<void>((resolve) => (wake = resolve))
  }
  return { roles, seen, until }
}

function ask({ port, socketPath }: { port?: number; socketPath?: string }, path: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    get({ host: '127.0.0.1', ...(socketPath ? { socketPath } : { port }), path, headers, agent: false }, (reply) => {
      let body = ''
      reply.setEncoding('utf8').on('data', (text: string) => (body += text))
      reply.on('end', () => resolve({ status: reply.statusCode as number, body }))
    }).on('error', reject)
  })
}

test('a role is up, its routes are served, and it goes when its resource goes', async (t) => {
  const { roles, seen } = await rolesWith(t)
  await roles.start([role('one', { says: 'hello' })])
  assert.deepEqual(seen, ['one initialising', 'one up'])
  assert.deepEqual(await ask(roles, '/echo'), { status: 200, body: 'hello' })
  assert.equal((await ask(roles, '/ready')).status, 200)
  assert.match((await ask(roles, '/metrics')).body, /outrider_echo\{says="hello"\} 1/)
  assert.deepEqual(JSON.parse((await ask(roles, '/status')).body), { roles: [{ kind: 'Echo', name: 'one', state: 'up', says: 'hello' }] })
  await roles.remove(role('one'))
  assert.equal((await ask(roles, '/echo')).status, 404)
  assert.equal(seen.at(-1), 'one closed')
})

test('a role that cannot open is tried again, keeps nobody else from it, and the port says it is not ready', async (t) => {
  let refuse = true
  const { roles, until } = await rolesWith(t, async (resource, context) => {
    if (resource.name === 'late' && refuse) throw new Error('not yet')
    return echo(resource, context)
  })
  await roles.start([role('late', { path: '/late', says: 'late' }), role('one', { says: 'hello' })])
  await until('late retrying: not yet')
  assert.equal((await ask(roles, '/echo')).status, 200)
  const ready = await ask(roles, '/ready')
  assert.equal(ready.status, 503)
  assert.match(ready.body, /"late".*not yet/)
  assert.equal((await ask(roles, '/health')).status, 200)
  refuse = false
  await until('late up')
  assert.equal((await ask(roles, '/late')).body, 'late')
})

test('a change that cannot open leaves what ran', async (t) => {
  const { roles } = await rolesWith(t)
  await roles.start([role('one', { says: 'hello' })])
  await assert.rejects(roles.put(role('one', { says: 'no' }), true), /it says no/)
  assert.equal((await ask(roles, '/echo')).body, 'hello')
  await roles.put(role('one', { says: 'bye' }), true)
  assert.equal((await ask(roles, '/echo')).body, 'bye')
})

test('two roles cannot serve one route', async (t) => {
  const { roles, seen } = await rolesWith(t)
  await roles.start([role('one', { path: '/x/:a', says: '1' })])
  await roles.start([role('two', { path: '/x/:b', says: '2' })])
  assert.match(seen.at(-1) as string, /two retrying: \/x\/:b on the agents' port is served by Echo one/)
})

test('with a token only probes come through without it; a unix socket serves the same', async (t) => {
  const socket = join(mkdtempSync(join(tmpdir(), 'outrider-agent-')), 'agent.sock')
  const { roles } = await rolesWith(t, echo, { token: 'sesame', socket })
  await roles.start([role('one', { says: 'hello' })])
  assert.equal((await ask(roles, '/echo')).status, 401)
  assert.equal((await ask(roles, '/status', { 'outrider-agent-token': 'no' })).status, 401)
  assert.equal((await ask(roles, '/echo', { 'outrider-agent-token': 'sesame' })).body, 'hello')
  assert.equal((await ask({ socketPath: socket }, '/echo', { authorization: 'Bearer sesame' })).body, 'hello')
  assert.equal((await ask(roles, '/health')).status, 200)
})
