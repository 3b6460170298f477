import type { Binding, BindingRequest, BindingResponse } from '../../blocks/bindings/driver.ts'

export type Act = (request: BindingRequest, signal?: AbortSignal) => Promise<BindingResponse | undefined>

/** What a binding does, by the names of its operations, which it says it has in this order. */
export function operationsOf(acts: Readonly<Record<string, Act>>): Pick<Binding, 'operations'> & { invoke: Act } {
  return {
    operations: Object.keys(acts),
    async invoke(request, signal) {
      const act = Object.hasOwn(acts, request.operation) ? acts[request.operation] : undefined
      if (!act) throw new Error(`unsupported operation ${request.operation}`)
      return act(request, signal)
    },
  }
}
