import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Resiliency } from '../policy/resiliency.ts'
import { createLogger } from './log.ts'
import { ResiliencyMetrics } from './resiliency-metrics.ts'

const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })

test('policies are counted when they are read, when they stand around an operation, and when they act', async () => {
  const metrics = new ResiliencyMetrics()
  const policies = {
    retries: { r: { duration: '1ms', maxRetries: 3 } },
    circuitBreakers: { cb: { trip: 'consecutiveFailures > 1', timeout: '1h' } },
  }
  const resiliency = await Resiliency.load({
    log,
    observer: metrics.of('me'),
    resources: [
      {
        name: 'mine',
        namespace: 'ns',
        scopes: [],
        source: { file: '', line: 1 },
        spec: { policies, targets: { components: { store: { outbound: { retry: 'r', circuitBreaker: 'cb' } } } } },
      },
    ],
  })
  const run = resiliency.component('store', 'Statestore', 'outbound')
  await assert.rejects(run?.(async () => Promise.reject(new Error('down'))) as Promise<unknown>)
  await assert.rejects(run?.(async () => 'never') as Promise<unknown>, /open/)
  const rows = [...metrics.parts()]
    .join('')
    .split('\n')
    .filter((row) => row.startsWith('dapr'))
    .map((row) => row.replace('app_id="me",', '').replace('namespace="ns"', 'ns').replace(',target="Statestore_store"', ''))
  const labels = (policy: string, status: string) => `flow_direction="outbound",name="mine",ns,policy="${policy}",status="${status}"`
  assert.deepEqual(rows, [
    'dapr_resiliency_loaded{name="mine",ns} 1',
    `dapr_resiliency_count{${labels('retry', '')}} 2`,
    `dapr_resiliency_count{${labels('circuitbreaker', 'closed')}} 1`,
    `dapr_resiliency_count{${labels('circuitbreaker', 'open')}} 1`,
    `dapr_resiliency_activations_total{${labels('retry', '')}} 1`,
    `dapr_resiliency_activations_total{${labels('circuitbreaker', 'open')}} 1`,
    `dapr_resiliency_cb_state{${labels('circuitbreaker', 'closed')}} 0`,
    `dapr_resiliency_cb_state{${labels('circuitbreaker', 'half-open')}} 0`,
    `dapr_resiliency_cb_state{${labels('circuitbreaker', 'open')}} 1`,
    `dapr_resiliency_cb_state{${labels('circuitbreaker', 'unknown')}} 0`,
  ])
})
