import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Envelope, NO_TRACE, toCloudEvent } from './cloud-event.ts'

const make = (body: string | Buffer, contentType: string, more: Partial<Envelope> = {}) => {
  const text = toCloudEvent({
    body: Buffer.from(body as string),
    contentType,
    pubsubName: 'ps',
    topic: 'orders',
    appId: 'myapp',
    trace: NO_TRACE,
    metadata: {},
    expires: true,
    ...more,
  }).toString()
  return { text, event: JSON.parse(text) as Record<string, unknown> }
}

test('wraps with members in alphabetical order', () => {
  const { text, event } = make('{"b":1,"a":"<"} rest', 'application/json; charset=utf-8', {
    trace: { traceparent: 'tp', tracestate: 'ts' },
    metadata: { 'CloudEvent.Subject': 's' },
  })
  assert.deepEqual(Object.keys(event), [
    'data',
    'datacontenttype',
    'id',
    'pubsubname',
    'source',
    'specversion',
    'subject',
    'time',
    'topic',
    'traceid',
    'traceparent',
    'tracestate',
    'type',
  ])
  assert.ok(text.startsWith('{"data":{"a":"\\u003c","b":1},"datacontenttype":"application/json; charset=utf-8"'), text)
  assert.equal(event.traceid, 'tp')
  assert.equal(event.source, 'myapp')
  assert.match(event.time as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/)
  assert.ok(Math.abs(Date.parse(event.time as string) - Date.now()) < 5000)
})

test('data follows the content type', () => {
  assert.equal(make('{bad', 'application/json').event.data, '{bad')
  assert.equal(make('', 'application/json').event.data, '')
  assert.equal(make('{"a":1}', 'application/vnd.x+json').event.data, '{"a":1}')
  assert.equal(make('hi', '').event.datacontenttype, 'text/plain')
  assert.equal(make('\x01\x02', 'APPLICATION/octet-stream').event.data_base64, 'AQI=')
  assert.equal(make(Buffer.from([0x0a, 0x01, 0x61]), 'application/x-protobuf').event.data_base64, 'CgFh')
  assert.equal(make('not protobuf', 'application/x-protobuf').event.data, 'not protobuf')
  const deep = '['.repeat(200_000)
  assert.equal(make(deep, 'application/json').event.data, deep)
  assert.ok(make('{"n":12345678901234567890}', 'application/json').text.includes('12345678901234567890'))
})

test('metadata overrides members, not those of the publisher', () => {
  const { event } = make('x', 'text/plain', {
    metadata: {
      'cloudevent.id': 'i',
      'cloudevent.source': 's',
      'cloudevent.type': 't',
      'cloudevent.traceid': 'a',
      'cloudevent.traceparent': 'b',
      'cloudevent.topic': 'no',
      'cloudevent.subject': '',
    },
  })
  assert.deepEqual(
    [event.id, event.source, event.type, event.traceid, event.traceparent, event.topic, event.subject],
    ['i', 's', 't', 'b', 'b', 'orders', undefined],
  )
})

test('a TTL becomes an expiration only when the broker has none', () => {
  const after = (metadata: Record<string, string>, expires = true) => {
    const { expiration } = make('x', 'text/plain', { metadata, expires }).event
    return expiration === undefined ? undefined : Math.round((Date.parse(expiration as string) - Date.now()) / 10_000) * 10 + 0
  }
  assert.equal(after({ ttlInSeconds: '100' }), 100)
  assert.equal(after({ TTL: '1m30s', ttlInSeconds: '10' }), 90)
  assert.equal(after({ ttl: '-5s' }), 0)
  for (const bad of ['soon', '0', '-1', '1.5', '']) assert.equal(after({ ttlInSeconds: bad }), undefined, bad)
  assert.equal(after({ ttlInSeconds: '100' }, false), undefined)
})

test('an event given as such keeps its members', () => {
  const trace = { traceparent: 'tp', tracestate: '' }
  const { event } = make(
    '{"id":"i","data":{"a":1},"own":1,"topic":"x","source":null,"traceparent":"old"}',
    'application/cloudevents+json; charset=utf-8',
    { trace, metadata: { 'cloudevent.id': 'no' } },
  )
  assert.deepEqual(
    { ...event, time: 'now' },
    {
      id: 'i',
      data: { a: 1 },
      own: 1,
      topic: 'orders',
      pubsubname: 'ps',
      source: 'Dapr',
      specversion: '1.0',
      time: 'now',
      traceid: 'tp',
      traceparent: 'tp',
      tracestate: '',
      type: 'com.dapr.event.sent',
    },
  )
  assert.equal(make('{"traceid":"t"}', 'application/cloudevents+json', { trace }).event.traceparent, undefined)
  assert.throws(() => make('{', 'application/cloudevents+json'), { message: 'unexpected EOF' })
  assert.throws(() => make('[]', 'application/cloudevents+json'), /cannot unmarshal array/)
})
