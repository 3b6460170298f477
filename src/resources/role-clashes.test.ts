import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLogger } from '../telemetry/log.ts'
import { loadResources } from './load.ts'

/** Roles that are loaded of these documents, and the complaints of the others. */
async function loaded(t: TestContext, documents: Record<string, object>) {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-clashes-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, document] of Object.entries(documents))
    writeFileSync(join(folder, `${name}.yaml`), JSON.stringify({ apiVersion: 'outrider.dev/v1', metadata: { name }, ...document }))
  const log = createLogger({ level: 'error', json: false, appId: 'test', version: '', write: () => {} })
  const { roles, rejected } = await loadResources({ paths: [folder], appId: 'test', namespace: '', log })
  return { names: roles.map(({ name }) => name), complaints: rejected.map(({ name, message }) => `${name}: ${message}`) }
}

const configServer = (more = {}) => ({ kind: 'ConfigServer', spec: { sources: [{ name: 'f', files: { folder: '/x' } }], ...more } })
const adapter = (more = {}) => ({ kind: 'MetricsAdapter', spec: { ...more } })
const pipeline = (...http: object[]) => ({
  kind: 'LogPipeline',
  spec: { sources: http.map((one) => ({ http: one })), outputs: [{ drop: {} }] },
})

test('two roles that want the same path: the second is left out, and both are named with what to do', async (t) => {
  const { names, complaints } = await loaded(t, {
    a: configServer(),
    b: configServer(),
    c: adapter(),
    d: adapter(),
    e: pipeline({}),
    f: pipeline({}),
    g: pipeline({ path: '/x' }, { path: '/x' }),
  })
  assert.deepEqual(names, ['a', 'c', 'e'])
  const [g, b, d, f] = complaints
  assert.match(
    b as string,
    /^b: \/config on the agents' port is served by ConfigServer a \(.*a\.yaml:1\): put the sources of both into one .* spec\.prefix/,
  )
  assert.match(d as string, /^d: \/metrics on the agents' port is served by MetricsAdapter c \(.*c\.yaml:1\): .* spec\.prefix/)
  assert.match(f as string, /^f: \/log on the agents' port is served by LogPipeline e \(.*e\.yaml:1\): give one of them an http\.path/)
  assert.match(g as string, /^g: spec\.sources\[1\]\.http: \/x on the agents' port is served by another source/)
})

test("with a prefix or a path of its own there may be any number; a prefix that is somebody's is refused", async (t) => {
  const { names, complaints } = await loaded(t, {
    a: configServer(),
    b: configServer({ prefix: '/b' }),
    c: adapter(),
    d: adapter({ prefix: '/d/e' }),
    e: pipeline({}, { path: '/x' }),
    f: pipeline({ path: '/y' }, { port: 0 }, { port: 0 }),
    g: adapter({ prefix: '/config' }),
    h: configServer({ prefix: 'no-slash' }),
  })
  assert.deepEqual(names, ['a', 'b', 'c', 'd', 'e', 'f'])
  assert.match(complaints[0] as string, /^g: spec\.prefix \/config: \/config is somebody's/)
  assert.match(complaints[1] as string, /^h: .*prefix/)
})
