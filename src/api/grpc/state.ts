import type { StateBlock } from '../../blocks/state/state.ts'
import { valueFromBytes } from '../../blocks/state/value.ts'
import { unary } from '../../transport/grpc/server.ts'
import { decodeGetState, decodeSaveState, encodeEmpty, encodeGetState } from './messages.ts'
import { DAPR, type GrpcMethods } from './method.ts'

export function stateMethods(state: Pick<StateBlock, 'get' | 'save'>): GrpcMethods {
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
  ]
}
