import assert from 'node:assert/strict'
import { matrixCases } from '../../../test/matrix.ts'
import type { Binding } from './driver.ts'

export interface BindingExpectations {
  operations: readonly string[]
  /** Whether it feeds events by itself. */
  read: boolean
  createMetadata?: Record<string, string>
  /** Does the same whatever the operation is called, as daprd's. */
  anyOperation?: boolean
}

const DATA = '[{"orderid":1},{"orderid":2}]'

/** What every binding must do, as far as it has the operations; `open` gives undefined when there is no server. */
export function bindingConformance(name: string, expected: BindingExpectations, open: () => Promise<Binding | undefined>): void {
  const check = matrixCases('bindings', name)
  const has = (operation: string) => expected.operations.includes(operation)

  check('lists its operations', async (context) => {
    await using binding = await open()
    if (!binding) return context.missing('server')
    assert.deepEqual([...(binding.operations ?? [])], expected.operations)
    assert.equal(binding.invoke !== undefined, expected.operations.length > 0)
    assert.equal(binding.read !== undefined, expected.read)
  })

  check('creates', async (context) => {
    if (!has('create')) return context.unclaimed()
    await using binding = await open()
    if (!binding) return context.missing('server')
    await binding.invoke?.({ operation: 'create', data: Buffer.from(DATA), metadata: expected.createMetadata ?? {} })
  })

  check('gives what was created, lists it, and deletes it', async (context) => {
    if (!has('create') || !has('list')) return context.unclaimed()
    await using binding = await open()
    if (!binding) return context.missing('server')
    const call = (operation: string, data = '') =>
      binding.invoke?.({ operation, data: Buffer.from(data), metadata: expected.createMetadata ?? {} })
    await call('create', DATA)
    await call('list')
    assert.equal((await call('get'))?.data?.toString(), DATA)
    await call('delete')
    await assert.rejects(async () => call('get'))
  })

  check('refuses an operation that it does not have', async (context) => {
    if (expected.operations.length === 0 || expected.anyOperation) return context.unclaimed()
    await using binding = await open()
    if (!binding) return context.missing('server')
    await assert.rejects(async () => binding.invoke?.({ operation: 'nosuch', data: Buffer.alloc(0), metadata: {} }))
  })

  check(
    'feeds events until it is disposed',
    async (context) => {
      if (!expected.read) return context.unclaimed()
      await using binding = await open()
      if (!binding) return context.missing('server')
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
    },
    { timeout: 20_000 },
  )
}
