import type { StateBlock } from '../../blocks/state/state.ts'
import { valueFromBytes } from '../../blocks/state/value.ts'
import { unary } from '../../transport/grpc/server.ts'
import { Empty } from './empty.ts'
import { decodeGetState, decodeSaveState, encodeEmpty, encodeGetState } from './messages.ts'
import { DAPR, daprUnary, type GrpcMethods } from './method.ts'
import {
  DeleteBulkStateRequest,
  DeleteStateRequest,
  deleteItem,
  ExecuteStateTransactionRequest,
  GetBulkStateRequest,
  GetBulkStateResponse,
  QueryStateRequest,
  QueryStateResponse,
  StateItem,
  saveItem,
} from './state-messages.ts'
import { traceOf } from './trace.ts'

const NONE = Buffer.alloc(0)

/** The methods of the state building block. */
export function stateMethods(state: StateBlock): GrpcMethods {
  return [
    [
      `${DAPR}GetState`,
      unary(decodeGetState, encodeGetState, async ({ storeName, key, consistency, metadata }, call) =>
        state.get(storeName, { key, consistency, metadata }, call.signal),
      ),
    ],
    [
      `${DAPR}SaveState`,
      unary(decodeSaveState, encodeEmpty, async ({ storeName, items }, call) => {
        await state.save(
          storeName,
          items.map((item) => ({ ...item, ...valueFromBytes(item.value, item.metadata) })),
          call.signal,
        )
      }),
    ],
    daprUnary('GetBulkState', GetBulkStateRequest, GetBulkStateResponse, async ({ storeName, ...request }, call) => {
      const items = await state.bulkGet(storeName, request, call.signal)
      return {
        items: items.map(({ key, item, error }) => ({ key, data: item?.data, etag: item?.etag, metadata: item?.metadata, error })),
      }
    }),
    daprUnary('DeleteState', DeleteStateRequest, Empty, async ({ storeName, ...item }, call) => {
      await state.delete(storeName, deleteItem(item), call.signal)
      return {}
    }),
    daprUnary('DeleteBulkState', DeleteBulkStateRequest, Empty, async ({ storeName, states }, call) => {
      await state.bulkDelete(storeName, states.map(deleteItem), call.signal)
      return {}
    }),
    daprUnary('ExecuteStateTransaction', ExecuteStateTransactionRequest, Empty, async ({ storeName, operations, metadata }, call) => {
      const items = operations.map(({ operationType, request = StateItem.decode(NONE) }) => ({
        operation: operationType,
        ...(operationType === 'delete' ? deleteItem(request) : saveItem(request)),
      }))
      await state.transact(storeName, items, metadata, call.signal, traceOf(call))
      return {}
    }),
    daprUnary('QueryStateAlpha1', QueryStateRequest, QueryStateResponse, async ({ storeName, query, metadata }, call) => {
      state.require(storeName, 'query')
      const answer = await state.query(storeName, query, metadata, call.signal)
      return answer.results.length === 0 ? {} : answer
    }),
  ]
}
