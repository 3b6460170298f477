import type { LockBlock } from '../../../blocks/lock/block.ts'
import { parseJson } from '../../../blocks/state/go-json.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import { type Call, json, type Route } from '../route.ts'

/** The routes of the distributed lock. */
export function lockRoutes(block: LockBlock): Route[] {
  return [
    {
      methods: ['POST'],
      path: '/v1.0-alpha1/lock/:store',
      group: 'lock',
      version: 'v1alpha1',
      name: 'TryLock',
      async handler(call) {
        const body = await message(call)
        const request = {
          resourceId: textOf(body, 'resourceId', 'resource_id'),
          lockOwner: textOf(body, 'lockOwner', 'lock_owner'),
          expiryInSeconds: int32Of(body, 'expiryInSeconds', 'expiry_in_seconds'),
        }
        return json({ success: await block.tryLock(call.params.store as string, request, call.signal) })
      },
    },
    {
      methods: ['POST'],
      path: '/v1.0-alpha1/unlock/:store',
      group: 'unlock',
      version: 'v1alpha1',
      name: 'Unlock',
      async handler(call) {
        const body = await message(call)
        const request = { resourceId: textOf(body, 'resourceId', 'resource_id'), lockOwner: textOf(body, 'lockOwner', 'lock_owner') }
        return json({ status: await block.unlock(call.params.store as string, request, call.signal) })
      },
    },
  ]
}

/** The body as a protobuf message in JSON: nothing is the empty message, unknown members are ignored. */
async function message(call: Call): Promise<Record<string, unknown>> {
  const body = await call.body()
  if (body.length === 0) return {}
  let value: unknown
  try {
    value = parseJson(body.toString(), true)
  } catch (error) {
    // The protobuf decoder has its own word for a text that ends too early.
    throw malformed(messageOf(error).replace('unexpected end of JSON input', 'unexpected EOF'))
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw malformed('syntax error: unexpected token, an object is expected')
  return value as Record<string, unknown>
}

function textOf(body: Record<string, unknown>, name: string, original: string): string {
  const value = body[name] ?? body[original] ?? ''
  if (typeof value !== 'string') throw malformed(`invalid value for string field ${name}: ${JSON.stringify(value)}`)
  return value
}

function int32Of(body: Record<string, unknown>, name: string, original: string): number {
  const value = body[name] ?? body[original] ?? 0
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  if (typeof number !== 'number' || !Number.isInteger(number) || number !== (number | 0))
    throw malformed(`invalid value for int32 field ${name}: ${JSON.stringify(value)}`)
  return number
}

// The space after `proto:` is a no-break one: Go's protobuf picks either by build, and daprd 1.18.3 has this.
function malformed(why: string): OutriderError {
  return new OutriderError({
    code: 'ERR_MALFORMED_REQUEST',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `failed deserializing HTTP body: proto:\u00a0${why}`,
    hint: 'send a JSON object with resourceId, lockOwner and, to lock, expiryInSeconds',
  })
}
