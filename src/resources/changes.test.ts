import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createLogger } from '../telemetry/log.ts'
import { changesBetween, keepUnreadable } from './changes.ts'
import type { Resources } from './kinds.ts'
import { loadResources } from './load.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const root = mkdtempSync(join(tmpdir(), 'outrider-changes-'))
after(() => rmSync(root, { recursive: true, force: true }))

async function read(files: Record<string, string>): Promise<Resources> {
  const path = mkdtempSync(join(root, 'r'))
  mkdirSync(path, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  const resources = await loadResources({ paths: [path], appId: 'me', namespace: '', log })
  // As if they all had stood in one folder.
  const at = (file: string) => file.slice(path.length + 1)
  for (const list of Object.values(resources) as { source?: { file: string }; file?: string }[][])
    for (const one of list) {
      if (one.source) one.source.file = at(one.source.file)
      if (one.file) one.file = at(one.file)
    }
  return resources
}

const store = (name: string, more = '') =>
  `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: ${name}}\nspec: {type: state.in-memory, version: v1${more}}\n`
const told = (before: Resources, after: Resources) =>
  changesBetween(before, after).map(({ kind, name, action }) => `${action} ${kind} ${name}`)

test('additions, changes and deletions are told; moving a resource to another file or giving it scopes is none', async () => {
  const before = await read({ 'a.yaml': store('same'), 'b.yaml': store('gone'), 'c.yaml': store('other') })
  const after = await read({
    'x.yaml': `${store('new')}---\n${store('same')}scopes: [me]\n`,
    'c.yaml': store('other', ', initTimeout: 7s'),
  })
  assert.deepEqual(told(before, after), ['delete Component gone', 'change Component other', 'add Component new'])
})

test('a resource that is no more ours is deleted', async () => {
  const before = await read({ 'a.yaml': store('mine') })
  assert.deepEqual(told(before, await read({ 'a.yaml': `${store('mine')}scopes: [another]\n` })), ['delete Component mine'])
  assert.deepEqual(told(before, await read({ 'a.yaml': '' })), ['delete Component mine'])
})

test('a document that cannot be read is no deletion', async () => {
  const before = await read({ 'a.yaml': `${store('one')}---\n${store('two')}`, 'b.yaml': store('three') })
  const named = await read({ 'a.yaml': `${store('one').replace('spec:', 'spec: 5 #')}---\n${store('two')}` })
  keepUnreadable(before, named)
  assert.deepEqual(told(before, named), ['delete Component three'])
  const broken = await read({ 'a.yaml': 'kind: [', 'b.yaml': store('three') })
  keepUnreadable(before, broken)
  assert.deepEqual(told(before, broken), [])
})

test('policies of one name are compared one by one', async () => {
  const policy = (time: string) =>
    `apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec: {policies: {timeouts: {t: ${time}}}}\n`
  const before = await read({ 'a.yaml': policy('1s'), 'b.yaml': policy('2s') })
  assert.deepEqual(told(before, await read({ 'a.yaml': policy('3s'), 'b.yaml': policy('2s') })), ['change Resiliency r'])
  assert.deepEqual(told(before, await read({ 'a.yaml': policy('1s') })), ['delete Resiliency r'])
})
