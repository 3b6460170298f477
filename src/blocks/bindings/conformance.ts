import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Binding } from './driver.ts'

export interface BindingExpectations {
  operations: readonly string[]
  /** Whether it feeds events by itself. */
  read: boolean
  createMetadata?: Record<string, string>
}

/** What every binding must do, as far as it has the operations. */
export function bindingConformance(name: string, expected: BindingExpectations, open: () => Promise<Binding>): void {
  test(`${name}: lists its operations`, async () => {
    await using binding = await open()
    assert.deepEqual([...(binding.operations ?? [])], expected.operations)
    assert.equal(binding.invoke !== undefined, expected.operations.length > 0)
    assert.equal(binding.read !== undefined, expected.read)
  })

  if (expected.operations.includes('create')) {
    test(`${name}: create, get, list, delete`, async () => {
      await using binding = await open()
      const call = (operation: string, data = '') =>
        binding.invoke?.({ operation, data: Buffer.from(data), metadata: expected.createMetadata ?? {} })
      const data = '[{"orderid":1},{"orderid":2}]'
      await call('create', data)
      if (expected.operations.includes('list')) {
        await call('list')
        assert.equal((await call('get'))?.data?.toString(), data)
        await call('delete')
        await assert.rejects(async () => call('get'))
      }
    })
  }

  if (expected.read) {
    test(`${name}: feeds events until it is disposed`, { timeout: 20_000 }, async () => {
      await using binding = await open()
      let count = 0
      let reader: AsyncDisposable | undefined
      await new Promise<void>((resolve, reject) => {
        const handler = async () => {
          if (++count === 2) resolve()
          return undefined
        }
        binding.read?.(handler).then((r) => {
          reader = r
        }, reject)
      })
      await reader?.[Symbol.asyncDispose]()
      assert.equal(count, 2)
    })
  }
}
