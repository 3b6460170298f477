import { bytes, enumeration, int64, map, mapOf, message, nested, repeated, string } from '../../transport/grpc/message.ts'

const P = 'dapr.proto.components.v1'

const Etag = message(`${P}.Etag`, { value: string(1) })
const Concurrency = {
  fullName: `${P}.StateOptions.StateConcurrency`,
  values: { 0: 'CONCURRENCY_UNSPECIFIED', 1: 'CONCURRENCY_FIRST_WRITE', 2: 'CONCURRENCY_LAST_WRITE' },
}
const Consistency = {
  fullName: `${P}.StateOptions.StateConsistency`,
  values: { 0: 'CONSISTENCY_UNSPECIFIED', 1: 'CONSISTENCY_EVENTUAL', 2: 'CONSISTENCY_STRONG' },
}
const StateOptions = message(`${P}.StateOptions`, { concurrency: enumeration(1, Concurrency), consistency: enumeration(2, Consistency) })

export const GetRequest = message(`${P}.GetRequest`, { key: string(1), metadata: map(2), consistency: enumeration(3, Consistency) })
export const GetResponse = message(`${P}.GetResponse`, {
  data: bytes(1),
  etag: nested(2, Etag),
  metadata: map(3),
  contentType: string(4),
})
export const SetRequest = message(`${P}.SetRequest`, {
  key: string(1),
  value: bytes(2),
  etag: nested(3, Etag),
  metadata: map(4),
  options: nested(5, StateOptions),
  contentType: string(6),
})
export const DeleteRequest = message(`${P}.DeleteRequest`, {
  key: string(1),
  etag: nested(2, Etag),
  metadata: map(3),
  options: nested(4, StateOptions),
})

/** BulkGet, BulkSet and BulkDelete have an options message each, all of this shape. */
const Parallelism = message(`${P}.BulkGetRequestOptions`, { parallelism: int64(1) })
export const BulkGetRequest = message(`${P}.BulkGetRequest`, { items: repeated(nested(1, GetRequest)), options: nested(2, Parallelism) })
export const BulkSetRequest = message(`${P}.BulkSetRequest`, { items: repeated(nested(1, SetRequest)), options: nested(2, Parallelism) })
export const BulkDeleteRequest = message(`${P}.BulkDeleteRequest`, {
  items: repeated(nested(1, DeleteRequest)),
  options: nested(2, Parallelism),
})
const BulkStateItem = message(`${P}.BulkStateItem`, {
  key: string(1),
  data: bytes(2),
  etag: nested(3, Etag),
  error: string(4),
  metadata: map(5),
  contentType: string(6),
})
export const BulkGetResponse = message(`${P}.BulkGetResponse`, { items: repeated(nested(1, BulkStateItem)) })

const Operation = message(`${P}.TransactionalStateOperation`, { delete: nested(1, DeleteRequest), set: nested(2, SetRequest) })
export const TransactRequest = message(`${P}.TransactionalStateRequest`, { operations: repeated(nested(1, Operation)), metadata: map(2) })
export const MultiMaxSizeResponse = message(`${P}.MultiMaxSizeResponse`, { maxSize: int64(1) })

const Any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) })
const Sorting = message(`${P}.Sorting`, {
  key: string(1),
  order: enumeration(2, { fullName: `${P}.Sorting.Order`, values: { 0: 'ASC', 1: 'DESC' } }),
})
const Pagination = message(`${P}.Pagination`, { limit: int64(1), token: string(2) })
const Query = message(`${P}.Query`, { filter: mapOf(1, Any), sort: repeated(nested(2, Sorting)), pagination: nested(3, Pagination) })
export const QueryRequest = message(`${P}.QueryRequest`, { query: nested(1, Query), metadata: map(2) })
const QueryItem = message(`${P}.QueryItem`, {
  key: string(1),
  data: bytes(2),
  etag: nested(3, Etag),
  error: string(4),
  contentType: string(5),
})
export const QueryResponse = message(`${P}.QueryResponse`, { items: repeated(nested(1, QueryItem)), token: string(2), metadata: map(3) })
