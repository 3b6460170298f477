import type { DeleteItem, SaveItem } from '../../blocks/state/items.ts'
import { bytes, enumeration, int32, type MessageOf, map, message, nested, repeated, string } from '../../transport/grpc/message.ts'

/** dapr.proto.common.v1 and runtime.v1: state, but for GetState and SaveState, which messages.ts does by hand. */

const CONCURRENCY = {
  fullName: 'dapr.proto.common.v1.StateOptions.StateConcurrency',
  values: { 0: 'CONCURRENCY_UNSPECIFIED', 1: 'CONCURRENCY_FIRST_WRITE', 2: 'CONCURRENCY_LAST_WRITE' },
}
const CONSISTENCY = {
  fullName: 'dapr.proto.common.v1.StateOptions.StateConsistency',
  values: { 0: 'CONSISTENCY_UNSPECIFIED', 1: 'CONSISTENCY_EVENTUAL', 2: 'CONSISTENCY_STRONG' },
}

const Etag = message('dapr.proto.common.v1.Etag', { value: string(1) })
const StateOptions = message('dapr.proto.common.v1.StateOptions', {
  concurrency: enumeration(1, CONCURRENCY),
  consistency: enumeration(2, CONSISTENCY),
})
export const StateItem = message('dapr.proto.common.v1.StateItem', {
  key: string(1),
  value: bytes(2),
  etag: nested(3, Etag),
  metadata: map(4),
  options: nested(5, StateOptions),
})

const runtime = 'dapr.proto.runtime.v1.'
export const GetBulkStateRequest = message(`${runtime}GetBulkStateRequest`, {
  storeName: string(1),
  keys: repeated(string(2)),
  parallelism: int32(3),
  metadata: map(4),
})
export const GetBulkStateResponse = message(`${runtime}GetBulkStateResponse`, {
  items: repeated(
    nested(1, message(`${runtime}BulkStateItem`, { key: string(1), data: bytes(2), etag: string(3), error: string(4), metadata: map(5) })),
  ),
})
export const DeleteStateRequest = message(`${runtime}DeleteStateRequest`, {
  storeName: string(1),
  key: string(2),
  etag: nested(3, Etag),
  options: nested(4, StateOptions),
  metadata: map(5),
})
export const DeleteBulkStateRequest = message(`${runtime}DeleteBulkStateRequest`, {
  storeName: string(1),
  states: repeated(nested(2, StateItem)),
})
export const ExecuteStateTransactionRequest = message(`${runtime}ExecuteStateTransactionRequest`, {
  storeName: string(1),
  operations: repeated(
    nested(2, message(`${runtime}TransactionalStateOperation`, { operationType: string(1), request: nested(2, StateItem) })),
  ),
  metadata: map(3),
})
export const QueryStateRequest = message(`${runtime}QueryStateRequest`, { storeName: string(1), query: string(2), metadata: map(3) })
export const QueryStateResponse = message(`${runtime}QueryStateResponse`, {
  results: repeated(nested(1, message(`${runtime}QueryStateItem`, { key: string(1), data: bytes(2), etag: string(3), error: string(4) }))),
  token: string(2),
  metadata: map(3),
})

const CONCURRENCY_WORDS = [undefined, 'first-write', 'last-write']
const CONSISTENCY_WORDS = [undefined, 'eventual', 'strong']

/** What the block takes for a key with its ETag and options. Unknown numbers ask for nothing, as in Dapr. */
export function deleteItem(item: Pick<MessageOf<typeof DeleteStateRequest>, 'key' | 'etag' | 'options' | 'metadata'>): DeleteItem {
  return {
    key: item.key,
    etag: item.etag?.value,
    concurrency: CONCURRENCY_WORDS[item.options?.concurrency ?? 0],
    consistency: CONSISTENCY_WORDS[item.options?.consistency ?? 0],
    metadata: item.metadata,
  }
}

/** The same for a value to be written, which stays the bytes it is. */
export function saveItem(item: MessageOf<typeof StateItem>): SaveItem {
  return { ...deleteItem(item), value: item.value, json: false }
}
