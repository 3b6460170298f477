import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { packageDir } from './paths.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-components-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function outrider(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(join(packageDir, 'bin/outrider'), ['components', ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

function component(name: string, type: string, settings: Record<string, string>): string {
  const metadata = Object.entries(settings).map(([key, value]) => ({ name: key, value }))
  return JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name }, spec: { type, version: 'v1', metadata } })
}

test('lists component types and describes one, for people and for scripts', () => {
  const types = (JSON.parse(outrider('list', 'state', '--json').stdout) as { type: string }[]).map(({ type }) => type)
  assert.ok(types.includes('state.redis') && types.every((type) => type.startsWith('state.')), types.join())
  assert.match(outrider('describe', 'lock.redis').stdout, /redisHost +string +required/)
  const near = outrider('describe', 'state.reddis')
  assert.equal(near.status, 1)
  assert.match(near.stderr, /did you mean state\.redis\?/)
})

test('check brings each component up by itself and says in a sentence what is wrong with the others', () => {
  const file = join(folder, 'all.yaml')
  const documents = [
    component('good', 'state.sqlite', { connectionString: ':memory:' }),
    component('away', 'state.redis', { redisHost: '127.0.0.1:1', redisPassword: 'canary-secret' }),
    component('lazy', 'state.etcd', { endpoints: '127.0.0.1:1' }),
    component('bare', 'state.postgresql', {}),
    component('typo', 'state.rediss', {}),
  ]
  writeFileSync(file, documents.join('\n---\n'))
  const { status, stdout, stderr } = outrider('check', file)
  assert.equal(status, 1)
  assert.match(stdout, /good \(state\.sqlite\) is up after \d+ ms/)
  assert.match(stderr, /away \(state\.redis\): cannot connect to Redis at 127\.0\.0\.1:1: .*ECONNREFUSED/)
  assert.match(stderr, /lazy \(state\.etcd\): state store lazy: cannot reach etcd at 127\.0\.0\.1:1: .*ECONNREFUSED/)
  assert.match(stderr, /bare \(state\.postgresql\): missing required metadata field connectionString/)
  assert.match(stderr, /typo \(state\.rediss\): couldn't find state state\.rediss\/v1/)
  assert.ok(!`${stdout}${stderr}`.includes('canary-secret'))
  writeFileSync(file, documents[0] as string)
  assert.equal(outrider('check', folder).status, 0)
  assert.match(outrider('check', join(folder, 'none.yaml')).stderr, /no file or folder/)
})
