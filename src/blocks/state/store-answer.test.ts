import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import type { StateStore } from './driver.ts'
import { overHttp } from './errors.ts'
import { createStateBlock } from './state.ts'

const answer = new OutriderError({
  code: 'PEER_FULL',
  http: 507,
  grpc: Code.ResourceExhausted,
  message: 'full',
  details: [errorInfo('why')],
})
const refuse = async () => {
  throw answer
}
const component: StateStore = {
  features: ['TRANSACTIONAL'],
  init: async () => {},
  get: refuse,
  set: refuse,
  delete: refuse,
  transact: async () => {},
  query: refuse,
  maxTransactionSize: async () => 1,
  [Symbol.asyncDispose]: async () => {},
}
const named = { name: 'store', type: 'state.test', version: 'v1', component, properties: {} }
const block = createStateBlock({ stores: new Map([['store', named]]), appId: 'app', namespace: 'default' })
const item = { key: 'k', value: Buffer.from('1'), json: true, metadata: {} }

async function failureOf(work: Promise<unknown>): Promise<OutriderError> {
  return work.then(
    () => assert.fail('it did not fail'),
    (error: unknown) => (error instanceof OutriderError ? error : assert.fail(String(error))),
  )
}

test('an error that a store made for the app goes as it is over gRPC, and in the words of the operation over HTTP', async () => {
  const error = await failureOf(block.save('store', [item]))
  assert.deepEqual([error.code, error.grpc, error.message, error.details], ['PEER_FULL', Code.ResourceExhausted, 'full', answer.details])
  const http = overHttp(error, 'app')
  assert.deepEqual(
    [http.code, http.http, http.message, http.details],
    ['ERR_STATE_SAVE', 507, 'failed saving state in state store store: api error: code = ResourceExhausted desc = full', []],
  )
  const read = overHttp(await failureOf(block.get('store', { key: 'k', metadata: {} })), 'app')
  assert.equal(read.message, 'fail to get k from state store store: api error: code = ResourceExhausted desc = full')
  // Queries have no words of their own.
  assert.equal(await failureOf(block.query('store', '{}', {})), answer)
})

test('a transaction larger than the store takes is refused with both numbers', async () => {
  const operations = [
    { operation: 'upsert', ...item },
    { operation: 'delete', key: 'k', metadata: {} },
  ]
  const error = await failureOf(block.transact('store', operations, {}))
  assert.deepEqual([error.code, error.http, error.grpc], ['ERR_STATE_STORE_TOO_MANY_TRANSACTIONS', 400, Code.InvalidArgument])
  assert.equal(error.message, 'the transaction contains 2 operations, which is more than what the state store supports: 1')
  assert.partialDeepStrictEqual(error.details.at(-1), { metadata: { currentOpsTransaction: '2', maxOpsPerTransaction: '1' } })
  await block.transact('store', operations.slice(0, 1), {})
})
