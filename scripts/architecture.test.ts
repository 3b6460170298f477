import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { checkArchitecture } from './architecture.ts'

function check(t: TestContext, files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'outrider-architecture-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
  return checkArchitecture(root).map(({ file, line, message }) => `${file}:${line}: ${message}`)
}

test('this repository keeps its own rules', () => {
  assert.deepEqual(checkArchitecture(join(dirname(fileURLToPath(import.meta.url)), '..', 'src')), [])
})

test('an import up a floor is found, with its line', (t) => {
  const found = check(t, {
    'telemetry/a.ts': "import 'node:os'\nimport { x } from '../blocks/state/state.ts'\n",
    'blocks/state/state.ts': 'export const x = 1\n',
  })
  assert.equal(found.length, 1)
  assert.match(found[0] ?? '', /^telemetry\/a\.ts:2: imports up/)
})

test('types, errors and constant tables of a block are open to its drivers, its code is not', (t) => {
  const head = { 'blocks/state/driver.ts': 'export class EtagError extends Error {}\n', 'blocks/state/state.ts': 'export const run = 1\n' }
  assert.deepEqual(
    check(t, { ...head, 'components/state/x/driver.ts': "import { EtagError, type Store } from '../../../blocks/state/driver.ts'\n" }),
    [],
  )
  assert.equal(
    check(t, { ...head, 'components/state/x/driver.ts': "import { helper } from '../../../blocks/state/driver.ts'\n" }).length,
    1,
  )
  assert.equal(check(t, { ...head, 'components/state/x/driver.ts': "import { run } from '../../../blocks/state/state.ts'\n" }).length, 1)
  assert.equal(
    check(t, { ...head, 'components/pubsub/x/driver.ts': "import type { Run } from '../../../blocks/state/state.ts'\n" }).length,
    1,
  )
})

test('a driver is named by its registry only, dynamically too', (t) => {
  const driver = { 'components/state/x/driver.ts': 'export const driver = 1\n' }
  assert.deepEqual(check(t, { ...driver, 'components/state/registry.ts': "export const load = () => import('./x/driver.ts')\n" }), [])
  assert.match(
    check(t, { ...driver, 'runtime/a.ts': "export const load = () => import('../components/state/x/driver.ts')\n" }).join(),
    /only components\/state\/registry\.ts names it/,
  )
})

test('a client library outside the drivers is found', (t) => {
  assert.match(check(t, { 'blocks/state/a.ts': "import { Redis } from 'ioredis'\n" }).join(), /ioredis is imported outside/)
  assert.deepEqual(check(t, { 'components/redis/a.ts': "import { Redis } from 'ioredis'\n" }), [])
})

test('a cycle is found, a cycle of types only is not', (t) => {
  assert.match(
    check(t, { 'app/a.ts': "import { b } from './b.ts'\nexport const a = b\n", 'app/b.ts': "export { a as b } from './a.ts'\n" }).join(),
    /import cycle: app\/a\.ts → app\/b\.ts → app\/a\.ts/,
  )
  assert.deepEqual(check(t, { 'app/a.ts': "import { type B } from './b.ts'\n", 'app/b.ts': "import { a } from './a.ts'\n" }), [])
})

test('a folder without a floor is found', (t) => {
  assert.match(check(t, { 'new/a.ts': "import { x } from '../errors.ts'\n" }).join(), /stands on no floor/)
})

test('node:http is imported for its types only, because its ES exports load fetch and WebSocket', (t) => {
  const found = check(t, {
    'api/a.ts': "import type { Server } from 'node:http'\nimport { createServer } from 'node:http'\n",
    'api/harness.ts': "import { createServer } from 'node:http'\n",
  })
  assert.equal(found.length, 1)
  assert.match(found[0] ?? '', /^api\/a\.ts:2: node:http/)
})
