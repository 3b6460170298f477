import { bool, bytes, enumeration, int64, message, nested, repeated } from '../../transport/grpc/message.ts'

// The parts of etcd's v3 API (etcdserverpb, mvccpb) that stores need. Ids of clusters and members go unread: they exceed 2^53.

const PACKAGE = 'etcdserverpb.'

export const Sort = { none: 0, ascend: 1, descend: 2 } as const
export const SortTarget = { key: 0, version: 1, create: 2, mod: 3, value: 4 } as const
const sortOrder = { fullName: `${PACKAGE}RangeRequest.SortOrder`, values: { 0: 'NONE', 1: 'ASCEND', 2: 'DESCEND' } }
const sortTarget = { fullName: `${PACKAGE}RangeRequest.SortTarget`, values: { 0: 'KEY', 1: 'VERSION', 2: 'CREATE', 3: 'MOD', 4: 'VALUE' } }

export const CompareTarget = { version: 0, create: 1, mod: 2, value: 3, lease: 4 } as const
const compareTarget = {
  fullName: `${PACKAGE}Compare.CompareTarget`,
  values: { 0: 'VERSION', 1: 'CREATE', 2: 'MOD', 3: 'VALUE', 4: 'LEASE' },
}
const compareResult = { fullName: `${PACKAGE}Compare.CompareResult`, values: { 0: 'EQUAL', 1: 'GREATER', 2: 'LESS', 3: 'NOT_EQUAL' } }

const ResponseHeader = message(`${PACKAGE}ResponseHeader`, { revision: int64(3) })

const KeyValue = message('mvccpb.KeyValue', {
  key: bytes(1),
  createRevision: int64(2),
  modRevision: int64(3),
  version: int64(4),
  value: bytes(5),
})

export const RangeRequest = message(`${PACKAGE}RangeRequest`, {
  key: bytes(1),
  rangeEnd: bytes(2),
  limit: int64(3),
  revision: int64(4),
  sortOrder: enumeration(5, sortOrder),
  sortTarget: enumeration(6, sortTarget),
  keysOnly: bool(8),
})
export const RangeResponse = message(`${PACKAGE}RangeResponse`, {
  header: nested(1, ResponseHeader),
  kvs: repeated(nested(2, KeyValue)),
  more: bool(3),
  count: int64(4),
})

export const PutRequest = message(`${PACKAGE}PutRequest`, { key: bytes(1), value: bytes(2), lease: int64(3) })
export const PutResponse = message(`${PACKAGE}PutResponse`, { header: nested(1, ResponseHeader) })

export const DeleteRangeRequest = message(`${PACKAGE}DeleteRangeRequest`, { key: bytes(1), rangeEnd: bytes(2) })
export const DeleteRangeResponse = message(`${PACKAGE}DeleteRangeResponse`, { header: nested(1, ResponseHeader), deleted: int64(2) })

/** One of the three. */
export const RequestOp = message(`${PACKAGE}RequestOp`, {
  range: nested(1, RangeRequest),
  put: nested(2, PutRequest),
  deleteRange: nested(3, DeleteRangeRequest),
})
const ResponseOp = message(`${PACKAGE}ResponseOp`, {
  range: nested(1, RangeResponse),
  put: nested(2, PutResponse),
  deleteRange: nested(3, DeleteRangeResponse),
})
/** Whether a key's `target` equals the number given. */
export const Compare = message(`${PACKAGE}Compare`, {
  result: enumeration(1, compareResult),
  target: enumeration(2, compareTarget),
  key: bytes(3),
  createRevision: int64(5),
  modRevision: int64(6),
})
export const TxnRequest = message(`${PACKAGE}TxnRequest`, {
  compare: repeated(nested(1, Compare)),
  success: repeated(nested(2, RequestOp)),
  failure: repeated(nested(3, RequestOp)),
})
export const TxnResponse = message(`${PACKAGE}TxnResponse`, {
  header: nested(1, ResponseHeader),
  succeeded: bool(2),
  responses: repeated(nested(3, ResponseOp)),
})

export const LeaseGrantRequest = message(`${PACKAGE}LeaseGrantRequest`, { ttl: int64(1), id: int64(2) })
export const LeaseGrantResponse = message(`${PACKAGE}LeaseGrantResponse`, { header: nested(1, ResponseHeader), ttl: int64(3) })
