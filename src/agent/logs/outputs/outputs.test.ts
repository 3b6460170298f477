// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { BulkEntry, PublishRequest, PubSub } from '../../../blocks/pubsub/driver.ts'
import { openPipeline, scratch, startServer, type TestPipeline, until } from '../harness.ts'
import type { OutputSpec } from '../spec.ts'

const batch = { flushInterval: '5ms' }
const retry = { initial: '10ms', max: '20ms' }

/** A pipeline with this output, to which records can be posted. */
async function posting(t: TestContext, output: OutputSpec, more: Parameters<typeof openPipeline>[3] = {}, folder = scratch(t)) {
  const opened = await openPipeline(
    t,
    folder,
    { sources: [{ name: 'in', tag: 'app', http: { port: 0 } }], outputs: [{ name: 'out', batch, retry, ...output }] },
    more,
  )
  const post = async (body: string, path = '/', type = 'application/json') => {
    const reply = await fetch(`http://127.0.0.1:${opened.status().sources.in?.port}${path}`, {
      method: 'POST',
      body,
      headers: { 'content-type': type },
    })
    return { status: reply.status, body: (await reply.json()) as Record<string, unknown> }
  }
  return { ...opened, post, folder }
}

const delivered = (opened: TestPipeline, count: number) =>
  until(
    () => opened.status().outputs.out?.delivered === count,
    () => JSON.stringify(opened.status()),
  )

const deadLetters = (folder: string) => {
  const dead = join(folder, 'data', 'dead-letters')
  return readdirSync(dead).flatMap((name) =>
    readFileSync(join(dead, name), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>),
  )
}

test('a bulk: index by date, an id for each event, what is put off is sent again, what is refused is kept aside', async (t) => {
  let asked = 0
  const docs = new Map<string, { index: string; doc: Record<string, unknown> }>()
  const server = await startServer(t, ({ body }, response) => {
    asked++
    const lines = body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const items = []
    for (let at = 0; at < lines.length; at += 2) {
      const { _index, _id } = lines[at].create
      const doc = lines[at + 1]
      let status = 201
      if (doc.bad) status = 400
      else if (doc.later && asked < 3) status = 429
      else if (docs.has(_id)) status = 409
      else docs.set(_id, { index: _index, doc })
      items.push({
        create: { status, ...(status > 300 && { error: { type: status === 400 ? 'mapper_parsing_exception' : 'x', reason: 'because' } }) },
      })
    }
    // The first answer gets lost on its way, though all is taken.
    if (asked === 1) return void response.destroy()
    response.end(JSON.stringify({ errors: true, items }))
  })
  const opened = await posting(
    t,
    {
      elasticsearch: {
        urls: [server.url],
        logstashFormat: true,
        logstashPrefix: 'Shop-${tag}',
        tagField: 'tag',
        user: 'elastic',
        password: { envRef: 'ES' },
        gzip: true,
        pipeline: 'p',
      },
    },
    { env: { ES: 'secret' } },
  )
  await opened.post('[{"n":1},{"n":2,"bad":true},{"n":3,"later":true},{"n":4,"@timestamp":"2001-02-03T00:00:00Z"}]', '/web?time=1700000000')
  await delivered(opened, 3)
  assert.deepEqual([...docs.values()].map(({ doc }) => doc.n).sort(), [1, 3, 4])
  const [first] = docs.values()
  assert.deepEqual(first, { index: 'shop-web-2023.11.14', doc: { '@timestamp': '2023-11-14T22:13:20.000Z', tag: 'web', n: 1 } })
  const request = server.requests[0]
  assert.equal(request?.headers.authorization, `Basic ${Buffer.from('elastic:secret').toString('base64')}`)
  assert.match(request?.url ?? '', /^\/_bulk\?filter_path=/)
  assert.match(request?.body ?? '', /"pipeline":"p"/)
  // Two of the first request had come although its answer had not.
  assert.match(opened.pipeline.metrics(), /duplicates_total\{pipeline="test",output="out"\} 2/)
  assert.deepEqual(
    deadLetters(opened.folder).map(({ output, reason, record }) => ({ output, reason, record })),
    [{ output: 'out', reason: '400 mapper_parsing_exception: because', record: { n: 2, bad: true } }],
  )
})

test('another node is asked when one does not answer', async (t) => {
  const server = await startServer(t, ({ body }, response) =>
    response.end(
      JSON.stringify({ items: Array.from({ length: body.trim().split('\n').length / 2 }, () => ({ create: { status: 201 } })) }),
    ),
  )
  const opened = await posting(t, { elasticsearch: { urls: ['http://127.0.0.1:1', server.url] } })
  await opened.post('{"n":1}')
  await delivered(opened, 1)
})

test('a batch that is refused as a whole is divided until the bad event is alone', async (t) => {
  const server = await startServer(t, ({ body }, response) => void response.writeHead(body.includes('bad') ? 400 : 200).end('no'))
  const opened = await posting(t, { http: { url: server.url, format: 'json', headers: { 'X-Key': { value: 'k' } } } })
  await opened.post(`[${Array.from({ length: 20 }, (_, n) => `{"n":${n}${n === 7 ? ',"bad":1' : ''}}`).join(',')}]`)
  await delivered(opened, 19)
  const taken = server.requests.filter(({ body }) => !body.includes('bad')).flatMap(({ body }) => JSON.parse(body) as { n: number }[])
  assert.deepEqual(
    taken.map(({ n }) => n).sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, n) => n).filter((n) => n !== 7),
  )
  assert.equal(deadLetters(opened.folder).length, 1)
  assert.equal(server.requests[0]?.headers['x-key'], 'k')
})

test('after its attempts a batch goes to the dead letters', async (t) => {
  const server = await startServer(t, (_, response) => void response.writeHead(500).end())
  const opened = await posting(t, { http: { url: server.url }, retry: { ...retry, attempts: 2 } })
  await opened.post('{"n":1}')
  await until(() => opened.status().deadLetters === 1)
  assert.equal(opened.status().outputs.out?.delivered, 0)
  assert.equal(server.requests.length, 2)
  assert.match(String(deadLetters(opened.folder)[0]?.reason), /answered 500/)
})

test('Loki: streams by labels, values by time, and no more streams than there may be', async (t) => {
  const server = await startServer(t, (_, response) => void response.writeHead(204).end())
  const opened = await posting(t, {
    loki: {
      url: server.url,
      labels: { job: 'shop', tag: '${tag}', level: '${field.level}' },
      tenant: 'me',
      maxStreams: 2,
      line: 'message',
    },
  })
  await opened.post('[{"level":"a","message":"x"},{"level":"b","message":"y"},{"level":"c","message":"z"}]', '/?time=1700000000.123456')
  await delivered(opened, 3)
  const [push] = server.requests
  assert.equal(push?.url, '/loki/api/v1/push')
  assert.equal(push?.headers['x-scope-orgid'], 'me')
  assert.deepEqual(JSON.parse(push?.body ?? ''), {
    streams: [
      { stream: { job: 'shop', tag: 'app', level: 'a' }, values: [['1700000000123456000', 'x']] },
      { stream: { job: 'shop', tag: 'app', level: 'b' }, values: [['1700000000123456000', 'y']] },
      { stream: { job: 'shop', tag: 'app', overflow: 'true' }, values: [['1700000000123456000', 'z']] },
    ],
  })
})

test('a pub/sub component gets CloudEvents, in bulk where it can, and what failed once more with the same id', async (t) => {
  const published: PublishRequest[] = []
  let failures = 1
  const single: Partial<PubSub> = {
    async publish(request) {
      if (failures-- > 0) throw new Error('not now')
      published.push(request)
    },
  }
  const opened = await posting(
    t,
    { pubsub: { component: 'broker', topic: 'logs-${tag}' } },
    { components: { pubsub: () => single as PubSub } },
  )
  await opened.post('[{"n":1},{"n":2}]')
  await delivered(opened, 2)
  assert.deepEqual(
    published.map(({ topic }) => topic),
    ['logs-app', 'logs-app'],
  )
  const events = published.map(({ data }) => JSON.parse(data.toString()) as Record<string, unknown>)
  assert.deepEqual(events.map(({ data }) => (data as { n: number }).n).sort(), [1, 2])
  assert.equal(events[0]?.specversion, '1.0')
  assert.notEqual(events[0]?.id, events[1]?.id)
  const entries: BulkEntry[] = []
  const bulk: Partial<PubSub> = {
    async bulkPublish(_topic, given) {
      entries.push(...given)
      return []
    },
  }
  const other = await posting(
    t,
    { pubsub: { component: 'broker', topic: 'logs', raw: true } },
    { components: { pubsub: () => bulk as PubSub } },
  )
  await other.post('[{"n":1},{"n":2}]')
  await delivered(other, 2)
  assert.deepEqual(
    entries.map(({ data }) => data.toString()),
    ['{"n":1}', '{"n":2}'],
  )
})

test('what is posted: text, lines, arrays, forms and msgpack, each answered when it is on disk', async (t) => {
  const server = await startServer(t)
  const opened = await posting(t, { http: { url: server.url } })
  assert.deepEqual((await opened.post('one\ntwo\n', '/', 'text/plain')).body, { accepted: 2 })
  assert.deepEqual((await opened.post('{"n":1}\n{"n":2}\n', '/a/b', 'application/x-ndjson')).body, { accepted: 2 })
  assert.deepEqual((await opened.post('["three",{"n":4}]')).body, { accepted: 2 })
  assert.deepEqual((await opened.post(`json=${encodeURIComponent('{"n":5}')}`, '/form', 'application/x-www-form-urlencoded')).body, {
    accepted: 1,
  })
  for (const [body, type, expected] of [
    ['{"n":', 'application/json', /no JSON/],
    ['[1]', 'application/json', /event 1 is a number/],
    ['', 'application/json', /empty/],
    ['x=1', 'application/x-www-form-urlencoded', /no field json/],
  ] as const) {
    const reply = await opened.post(body, '/', type)
    assert.equal(reply.status, 400)
    assert.match(String(reply.body.message), expected)
  }
  await delivered(opened, 7)
  const events = server.requests.flatMap(({ body }) =>
    body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
  assert.deepEqual(
    events.map(({ tag, message, n }) => `${tag} ${message ?? n}`),
    ['app one', 'app two', 'a.b 1', 'a.b 2', 'app three', 'app 4', 'form 5'],
  )
})

test('a secret that is missing is named, and is in no message', async (t) => {
  const spec = { http: { url: 'http://127.0.0.1:1', headers: { authorization: { envRef: 'NO_SUCH' } } } }
  await assert.rejects(posting(t, spec), /output out\.headers\.authorization: there is no environment variable NO_SUCH/)
})
