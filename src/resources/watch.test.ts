import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { watchFolders } from './watch.ts'

const root = mkdtempSync(join(tmpdir(), 'outrider-watch-'))
after(() => rmSync(root, { recursive: true, force: true }))
const limit = { timeout: 10_000 }

/** Counts the calls, and lets a test wait for one. */
function counter() {
  let calls = 0
  let wake: (() => void) | undefined
  return {
    changed: () => {
      calls++
      wake?.()
    },
    get calls() {
      return calls
    },
    reached: async (count: number) => {
      while (calls < count)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    },
  }
}

function folder(name: string): string {
  const path = join(root, name)
  mkdirSync(path)
  return path
}

test('a burst of changes is one call', limit, async () => {
  const path = folder('burst')
  const seen = counter()
  using _watch = watchFolders([path], seen.changed, { quiet: 100 })
  for (let n = 0; n < 50; n++) writeFileSync(join(path, `${n}.yaml`), 'a: 1')
  await seen.reached(1)
  const { calls } = seen
  writeFileSync(join(path, 'last.yaml'), 'a: 1')
  await seen.reached(calls + 1)
  assert.deepEqual([calls, seen.calls], [1, 2])
})

test('changes without a pause are told of all the same', limit, async () => {
  const path = folder('busy')
  const seen = counter()
  using _watch = watchFolders([path], seen.changed, { quiet: 200, most: 400 })
  const busy = setInterval(() => writeFileSync(join(path, 'busy.yaml'), String(Math.random())), 20)
  await seen.reached(2)
  clearInterval(busy)
})

test('the swap of a link, as Kubernetes updates a mount, is a change', limit, async () => {
  const path = folder('mount')
  for (const version of ['..one', '..two']) {
    mkdirSync(join(path, version))
    writeFileSync(join(path, version, 'a.yaml'), version)
  }
  symlinkSync('..one', join(path, '..data'))
  symlinkSync('..data/a.yaml', join(path, 'a.yaml'))
  const seen = counter()
  using _watch = watchFolders([path], seen.changed)
  symlinkSync('..two', join(path, '..data_tmp'))
  renameSync(join(path, '..data_tmp'), join(path, '..data'))
  await seen.reached(1)
})

test('a folder that comes late, goes and comes again is followed', limit, async () => {
  const path = join(root, 'late')
  const seen = counter()
  using _watch = watchFolders([path], seen.changed, { look: 20 })
  mkdirSync(path)
  await seen.reached(1)
  rmSync(path, { recursive: true })
  await seen.reached(2)
  const before = seen.calls
  mkdirSync(path)
  await seen.reached(before + 1)
  const again = seen.calls
  writeFileSync(join(path, 'a.yaml'), 'a: 1')
  await seen.reached(again + 1)
})

test('nothing is told of after the end', limit, async () => {
  const path = folder('ended')
  const seen = counter()
  const watch = watchFolders([path], seen.changed, { quiet: 1 })
  const other = counter()
  using _other = watchFolders([path], other.changed, { quiet: 50 })
  watch[Symbol.dispose]()
  writeFileSync(join(path, 'a.yaml'), 'a: 1')
  await other.reached(1)
  assert.equal(seen.calls, 0)
})
