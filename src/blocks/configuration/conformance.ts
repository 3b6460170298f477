import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { matrixCases } from '../../../test/matrix.ts'
import type { ConfigurationItem, ConfigurationStore } from './driver.ts'

/** A store with a second way in, as another program has it. */
export interface ConfigurationBed {
  store: ConfigurationStore
  set(key: string, value: string, version: string): Promise<void>
  delete(key: string): Promise<void>
  close(): Promise<void>
}

type Items = Record<string, ConfigurationItem>

/** What every configuration store must do; there is no bed without the server. */
export function configurationStoreConformance(name: string, open: () => Promise<ConfigurationBed | undefined>): void {
  const check = matrixCases('configuration', name)
  check('gives the items asked for, all, or none', async (context) => {
    const bed = await open()
    if (!bed) return context.missing('server')
    try {
      const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()]
      for (const key of [a, b, c]) await bed.set(key, `v-${key}`, '1.0.0')
      const item = (key: string) => ({ value: `v-${key}`, version: '1.0.0', metadata: {} })
      assert.deepEqual(await bed.store.get([a, b], {}), { [a]: item(a), [b]: item(b) })
      const all = await bed.store.get([], {})
      for (const key of [a, b, c]) assert.deepEqual(all[key], item(key))
      assert.deepEqual(await bed.store.get([randomUUID()], {}), {})
    } finally {
      await bed.close()
    }
  })

  check(
    'tells each subscriber its changes, and no more after the end',
    async (context) => {
      const bed = await open()
      if (!bed) return context.missing('server')
      try {
        const [a, b, added] = [randomUUID(), randomUUID(), randomUUID()]
        await bed.set(a, '0', '1')
        await bed.set(b, '0', '1')
        const one = inbox()
        const two = inbox()
        const every = inbox()
        const first = await bed.store.subscribe([a], {}, one.take)
        const second = await bed.store.subscribe([a, b], {}, two.take)
        const third = await bed.store.subscribe([], {}, every.take)

        await bed.set(a, 'a1', '2')
        for (const box of [one, two, every]) assert.deepEqual(await box.until(a, 'a1'), { value: 'a1', version: '2', metadata: {} })
        await bed.set(b, 'b1', '2')
        for (const box of [two, every]) await box.until(b, 'b1')
        await bed.set(added, 'n1', '1')
        await every.until(added, 'n1')
        await bed.delete(b)
        for (const box of [two, every]) assert.deepEqual(await box.until(b, ''), { value: '', version: '', metadata: {} })

        await first[Symbol.asyncDispose]()
        await bed.set(a, 'a2', '3')
        for (const box of [two, every]) await box.until(a, 'a2')
        await second[Symbol.asyncDispose]()
        await bed.set(a, 'a3', '4')
        await every.until(a, 'a3')
        await third[Symbol.asyncDispose]()
        assert.deepEqual(one.keys(), [a], 'the first heard of its key only')
        assert.equal(one.has(a, 'a2'), false, 'nothing after the end')
        assert.equal(two.has(a, 'a3'), false, 'nothing after the end')
        assert.equal(two.keys().includes(added), false)
      } finally {
        await bed.close()
      }
    },
    { timeout: 15_000 },
  )
}

function inbox() {
  const got: [string, ConfigurationItem][] = []
  let wake = () => {}
  return {
    take: async (items: Items) => {
      got.push(...Object.entries(items))
      wake()
    },
    has: (key: string, value: string) => got.some(([k, item]) => k === key && item.value === value),
    keys: () => [...new Set(got.map(([key]) => key))],
    async until(key: string, value: string): Promise<ConfigurationItem> {
      for (;;) {
        const found = got.find(([k, item]) => k === key && item.value === value)
        if (found) return found[1]
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}
