import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { Runner } from './policy-hook.ts'
import { codedRunner } from './publish-code.ts'

const seen: unknown[] = []
const policy: Runner = (operation, signal) =>
  operation(signal).catch((error: unknown) => {
    seen.push((error as { status?: unknown }).status)
    throw error
  })

test("a broker's gRPC status is what matching rules see: its code over gRPC, its HTTP status over HTTP", async () => {
  const failed = new Error('the broker said no', { cause: new GrpcStatus(Code.ResourceExhausted, 'slow down') })
  for (const wire of ['grpc', 'http'] as const)
    await assert.rejects(
      codedRunner(policy, wire)(() => Promise.reject(failed)),
      { message: 'the broker said no', cause: failed },
    )
  await assert.rejects(
    codedRunner(policy, 'http')(() => Promise.reject(new Error('lost'))),
    { message: 'lost' },
  )
  assert.deepEqual(seen, [Code.ResourceExhausted, 429, undefined])
})
