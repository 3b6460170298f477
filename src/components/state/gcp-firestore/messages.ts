import { bool, bytes, enumeration, mapOf, message, nested, optional, repeated, string } from '../../../transport/grpc/message.ts'

// The parts of google.datastore.v1 that the driver needs.

const PACKAGE = 'google.datastore.v1.'

const PartitionId = message(`${PACKAGE}PartitionId`, { projectId: string(2) })
const PathElement = message(`${PACKAGE}Key.PathElement`, { kind: string(1), name: string(3) })
const Key = message(`${PACKAGE}Key`, { partitionId: nested(1, PartitionId), path: repeated(nested(2, PathElement)) })
/** A text or bytes. */
const Value = message(`${PACKAGE}Value`, { text: optional(string(17)), blob: optional(bytes(18)), excludeFromIndexes: bool(19) })
const Entity = message(`${PACKAGE}Entity`, { key: nested(1, Key), properties: mapOf(3, Value) })
const EntityResult = message(`${PACKAGE}EntityResult`, { entity: nested(1, Entity) })

export const LookupRequest = message(`${PACKAGE}LookupRequest`, { projectId: string(8), keys: repeated(nested(3, Key)) })
export const LookupResponse = message(`${PACKAGE}LookupResponse`, {
  found: repeated(nested(1, EntityResult)),
  deferred: repeated(nested(3, Key)),
})

export const NON_TRANSACTIONAL = 2
const mode = { fullName: `${PACKAGE}CommitRequest.Mode`, values: { 0: 'MODE_UNSPECIFIED', 1: 'TRANSACTIONAL', 2: 'NON_TRANSACTIONAL' } }
/** One of both. */
const Mutation = message(`${PACKAGE}Mutation`, { upsert: nested(6, Entity), delete: nested(7, Key) })
export const CommitRequest = message(`${PACKAGE}CommitRequest`, {
  projectId: string(8),
  mode: enumeration(5, mode),
  mutations: repeated(nested(6, Mutation)),
})
export const CommitResponse = message(`${PACKAGE}CommitResponse`, {})
