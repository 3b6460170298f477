import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeTraces } from './otlp-message.ts'
import { Span } from './span.ts'
import { parseTraceparent } from './span-context.ts'

test('spans are encoded byte for byte as by the protobufs of OpenTelemetry', () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
  const context = { traceId, spanId: '1112131415161718', flags: 1, state: 'k=v' }
  const span = new Span('pubsub/orders', 'client', context, parseTraceparent(`00-${traceId}-00f067aa0ba902b7-01`), () => {})
  Object.assign(span, { began: 1_700_000_000_000.25, ended: 1_700_000_000_001, error: 'Code(500)' })
  span.attributes['messaging.system'] = 'pubsub'
  // From Python's opentelemetry-proto 1.45: ExportTraceServiceRequest(…).SerializeToString().
  const official =
    'CrUBChgKFgoMc2VydmljZS5uYW1lEgYKBHNob3ASmAEKEgoQZGFwci1kaWFnbm9zdGljcxKBAQoQS/kvNXezTaajzpKdDg5HNhIIERITFBUWFxgaA2s9diIIAPBnqgup' +
    'ArcqDXB1YnN1Yi9vcmRlcnMwAzmQ0C02/pyXF0FAQjk2/pyXF0ocChBtZXNzYWdpbmcuc3lzdGVtEggKBnB1YnN1YnoNEglDb2RlKDUwMCkYAoUBAQMAAA=='
  assert.equal(encodeTraces([span], { 'service.name': 'shop' }).toString('base64'), official)
  span.notes = [{ name: 'resiliency.retry', at: 1_700_000_000_000.5, attributes: { 'resiliency.target': 'app_mail' } }]
  span.notesDropped = 1
  const noted =
    'CvUBChgKFgoMc2VydmljZS5uYW1lEgYKBHNob3AS2AEKEgoQZGFwci1kaWFnbm9zdGljcxLBAQoQS/kvNXezTaajzpKdDg5HNhIIERITFBUWFxgaA2s9diII' +
    'APBnqgupArcqDXB1YnN1Yi9vcmRlcnMwAzmQ0C02/pyXF0FAQjk2/pyXF0ocChBtZXNzYWdpbmcuc3lzdGVtEggKBnB1YnN1Ylo8CSChMTb+nJcXEhByZXNp' +
    'bGllbmN5LnJldHJ5Gh8KEXJlc2lsaWVuY3kudGFyZ2V0EgoKCGFwcF9tYWlsYAF6DRIJQ29kZSg1MDApGAKFAQEDAAA='
  assert.equal(encodeTraces([span], { 'service.name': 'shop' }).toString('base64'), noted)
})
