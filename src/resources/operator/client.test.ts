import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createLogger } from '../../telemetry/log.ts'
import { openIdentity } from '../../transport/identity/open.ts'
import { startAuthority, type TestAuthority } from '../../transport/identity/testing/authority.ts'
import type { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { OperatorClient } from './client.ts'
import { startOperator } from './testing/operator.ts'

const OPERATOR = 'spiffe://localhost/ns/default/dapr-operator'
const never = new AbortController().signal
let authority: TestAuthority
let identity: WorkloadIdentity

before(async () => {
  authority = await startAuthority()
  identity = (await openIdentity(
    {
      sentryAddress: authority.address,
      controlPlaneTrustDomain: 'localhost',
      controlPlaneNamespace: 'default',
      appId: 'asker',
      namespace: 'shop',
      trustAnchors: authority.root,
      log: quiet(() => {}),
    },
    never,
  )) as WorkloadIdentity
})
after(async () => {
  identity[Symbol.dispose]()
  await authority.close()
})

function quiet(write: (line: string) => void) {
  return createLogger({ level: 'info', json: true, appId: 'test', version: 'test', write })
}

function client(address: string, write: (line: string) => void = () => {}): OperatorClient {
  return new OperatorClient({ address, namespace: 'shop', tls: identity.dialExactly(OPERATOR), log: quiet(write) })
}

test('another service than the operator is waited for as if it were away, told once, and never believed', async () => {
  await using impostor = await startOperator(authority, 'spiffe://localhost/ns/default/somebody')
  impostor.put('Component', { metadata: { name: 'trap' } })
  const stop = new AbortController()
  const lines: string[] = []
  await using asked = client(impostor.address, (line) => {
    lines.push(line)
  })
  setTimeout(() => stop.abort(new Error('enough')), 700)
  const answers = await Promise.allSettled([asked.list('Component', stop.signal), asked.list('Resiliency', stop.signal)])
  assert.deepEqual(
    answers.map((answer) => answer.status),
    ['rejected', 'rejected'],
  )
  assert.equal(impostor.callers.size, 0)
  assert.equal(lines.length, 1, lines.join(''))
  assert.match(lines[0] as string, /unexpected SPIFFE ID: .*somebody.*, expected spiffe:\/\/localhost\/ns\/default\/dapr-operator/)
})

test('a refusal names the operator, and what to look at', async () => {
  await using operator = await startOperator(authority)
  await using asked = client(operator.address)
  await assert.rejects(asked.configuration('absent', never), /cannot read Configuration absent .*not found; check --control-plane-address/)
})

test('streams are opened again as often as they are cut, and the beginning of each is told', async () => {
  await using operator = await startOperator(authority)
  await using asked = client(operator.address)
  const opened: (() => void)[] = []
  let openings = 0
  const opening = (count: number) => new Promise<void>((resolve) => (openings >= count ? resolve() : opened.push(resolve)))
  const events: unknown[] = []
  using _watch = asked.watch('Component', {
    onOpen: () => {
      openings++
      for (const resolve of opened.splice(0)) resolve()
    },
    onEvent: (type, resource) => events.push([type, resource]),
  })
  await opening(1)
  for (const count of [2, 3]) {
    await operator.close()
    await operator.open()
    await opening(count)
  }
  assert.equal(openings, 3)
})

test('identities of another authority get nowhere', async () => {
  await using other = await startAuthority()
  await using operator = await startOperator(other)
  const stop = new AbortController()
  await using asked = client(operator.address, (line) => {
    assert.match(line, /unable to get local issuer certificate/)
    stop.abort(new Error('told'))
  })
  await assert.rejects(asked.list('Component', stop.signal), /told/)
})
