import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, afterEach, test } from 'node:test'
import type { ConversationComponent, ConversationRequest } from '../../../blocks/conversation/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import type { DriverModule } from '../../component.ts'
import { createResponseCache } from '../response-cache.ts'
import { startChatServer } from './chat-server.ts'
import { deepseek, huggingface, mistral, ollama, openai } from './flavours.ts'

const KEY = 'sk-test-0123456789abcdef'
const server = await startChatServer((headers) => headers.authorization === `Bearer ${KEY}` || headers['api-key'] === KEY)
after(() => server[Symbol.asyncDispose]())
afterEach(() => {
  server.requests.length = 0
  server.script.length = 0
})

const open = (driver: DriverModule<ConversationComponent>, properties: Record<string, string> = {}) =>
  driver.create({
    name: 'llm',
    type: 'conversation.any',
    version: 'v1',
    properties: { key: KEY, endpoint: server.url, ...properties },
    appId: 'app',
    namespace: 'default',
    log: createLogger({ level: 'error', json: false, appId: 'app', version: 'test' }),
  })
const question = (changes: Partial<ConversationRequest> = {}): ConversationRequest => ({
  messages: [{ role: 'user', text: ['hello'] }],
  tools: [],
  toolChoice: '',
  temperature: 0,
  responseFormat: undefined,
  promptCacheRetention: undefined,
  metadata: {},
  ...changes,
})
const weather = { name: 'weather', description: 'looks out', parameters: { type: 'object', properties: { city: { type: 'string' } } } }

test('a text is asked and answered', async () => {
  await using llm = open(openai)
  assert.deepEqual(await llm.converse(question()), {
    choices: [{ text: 'hello', toolCalls: [], finishReason: 'stop' }],
    usage: { completion: 2, prompt: 3, total: 5, completionDetails: undefined, promptDetails: undefined },
    model: 'gpt-5-nano',
  })
  const [{ path, headers, body }] = server.requests as [(typeof server.requests)[number]]
  assert.equal(path, '/chat/completions')
  assert.equal(headers.authorization, `Bearer ${KEY}`)
  assert.deepEqual(body, { model: 'gpt-5-nano', messages: [{ role: 'user', content: 'hello' }] })
})

test('a tool is called, and its answer taken', async () => {
  await using llm = open(openai)
  const calls = [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }]
  server.script.push({ reply: [{ role: 'assistant', content: null, tool_calls: calls }], reason: 'tool_calls' })
  const first = await llm.converse(question({ tools: [weather], toolChoice: 'weather' }))
  assert.deepEqual(first.choices, [
    { text: '', finishReason: 'tool_calls', toolCalls: [{ id: 'call_1', name: 'weather', arguments: '{"city":"Rome"}' }] },
  ])
  await llm.converse(
    question({
      tools: [weather],
      toolChoice: 'auto',
      messages: [
        { role: 'system', text: ['be', 'brief'] },
        { role: 'user', text: ['hello'] },
        { role: 'assistant', text: [], toolCalls: first.choices[0]?.toolCalls },
        { role: 'tool', text: ['rain'], answers: { id: 'call_1', name: 'weather' } },
      ],
    }),
  )
  assert.deepEqual(
    server.requests.map(({ body }) => [body.tool_choice, body.tools]),
    [
      [{ type: 'function', function: { name: 'weather' } }, [{ type: 'function', function: weather }]],
      ['auto', [{ type: 'function', function: weather }]],
    ],
  )
  assert.deepEqual(server.requests[1]?.body.messages, [
    { role: 'system', content: 'be\nbrief' },
    { role: 'user', content: 'hello' },
    { role: 'assistant', content: null, tool_calls: calls },
    { role: 'tool', tool_call_id: 'call_1', content: 'rain' },
  ])
})

test('all settings of a request are sent in the words of the protocol', async () => {
  await using llm = open(openai, { model: 'm' })
  const schema = { type: 'object', description: 'a sum', properties: { result: { type: 'number' } } }
  await llm.converse(
    question({
      temperature: 0.5,
      responseFormat: { ...schema, name: 'sum', strict: true },
      promptCacheRetention: 86_400_000,
      metadata: { k: 'v' },
    }),
  )
  await llm.converse(question({ responseFormat: schema, promptCacheRetention: 3_600_000, tools: [{ ...weather, parameters: undefined }] }))
  const { messages: _, ...first } = server.requests[0]?.body ?? {}
  assert.deepEqual(first, {
    model: 'm',
    temperature: 0.5,
    response_format: { type: 'json_schema', json_schema: { name: 'sum', description: 'a sum', strict: true, schema } },
    prompt_cache_retention: '24h',
    metadata: { k: 'v' },
  })
  assert.deepEqual(server.requests[1]?.body.response_format?.json_schema, {
    name: 'response',
    description: 'a sum',
    strict: false,
    schema,
  })
  assert.equal(server.requests[1]?.body.prompt_cache_retention, undefined, 'an hour is not stretched to a day')
})

test('models that have their own temperature are not sent another', async () => {
  for (const [model, temperature] of [
    ['gpt-5-nano', undefined],
    ['o3', undefined],
    ['o1-mini', undefined],
    ['gpt-4.1', 0.5],
    ['o3x', 0.5],
  ] as const) {
    await using llm = open(openai, { model })
    await llm.converse(question({ temperature: 0.5 }))
    assert.equal(server.requests.at(-1)?.body.temperature, temperature, model)
  }
})

test('choices, parts, counts and refusals are read', async () => {
  await using llm = open(openai)
  const usage = {
    prompt_tokens: 10,
    completion_tokens: 5,
    total_tokens: 15,
    prompt_tokens_details: { cached_tokens: 4, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 3 },
  }
  const parts = [
    { type: 'thinking', thinking: [] },
    { type: 'text', text: 'one' },
  ]
  server.script.push({ reply: [{ content: parts }, { content: null, refusal: 'no' }], usage, reason: 'length' })
  const result = await llm.converse(question())
  assert.deepEqual(
    result.choices.map(({ text, finishReason }) => [text, finishReason]),
    [
      ['one', 'length'],
      ['no', 'length'],
    ],
  )
  assert.deepEqual(result.usage, {
    completion: 5,
    prompt: 10,
    total: 15,
    completionDetails: { acceptedPrediction: 0, audio: 0, reasoning: 3, rejectedPrediction: 0 },
    promptDetails: { audio: 0, cached: 4 },
  })
})

test("a refusal brings the service's words, and never the key", async () => {
  await using wrong = open(openai, { key: 'sk-wrong-secret-key' })
  await assert.rejects(wrong.converse(question()), {
    message: 'API returned unexpected status code: 401: Incorrect API key provided: *** (***).',
  })
  await using llm = open(openai)
  for (const [status, reply, message] of [
    [429, { error: { message: 'Rate limit reached' } }, '429: Rate limit reached'],
    [404, { error: 'model "x" not found' }, '404: model "x" not found'],
    [422, { object: 'error', message: 'no such model' }, '422: no such model'],
    [422, { detail: [{ msg: 'field required' }] }, '422: [{"msg":"field required"}]'],
    [502, '<html>', '502'],
  ] as const) {
    server.script.push({ status, reply })
    await assert.rejects(llm.converse(question()), { message: `API returned unexpected status code: ${message}` })
  }
  await assert.rejects(llm.converse(question({ messages: [{ role: 'tool', text: ['x'] }] })), /must name the call that it answers/)
})

test('an answer without what was required is an error', async () => {
  await using llm = open(openai)
  const empty = { reply: [{ role: 'assistant', content: '' }] }
  server.script.push(empty, empty, { reply: [] })
  await assert.rejects(
    llm.converse(question({ tools: [weather], toolChoice: 'required' })),
    /no tool calls despite 1 tools being available/,
  )
  await llm.converse(question({ tools: [weather], toolChoice: 'auto' }))
  await assert.rejects(llm.converse(question()), /without a choice/)
})

test('the same question is asked once while its answer lasts', async () => {
  await using llm = open(openai, { cacheTTL: '1h', model: 'm' })
  const first = await llm.converse(question())
  assert.deepEqual(await llm.converse(question()), first)
  assert.equal(server.requests.length, 1)
  await llm.converse(question({ temperature: 1 }))
  assert.equal(server.requests.length, 2)
  await using uncached = open(openai)
  await uncached.converse(question())
  await uncached.converse(question())
  assert.equal(server.requests.length, 4)
})

test('an answer that is too old is asked for again, an error is not kept, and the oldest goes', async () => {
  let now = 0
  let asked = 0
  const cache = createResponseCache(1000, () => now)
  const ask = async () => ({ choices: [{ text: String(++asked), toolCalls: [], finishReason: 'stop' }] })
  const text = async (question: string) => (await cache.answer(question, ask)).choices[0]?.text
  await assert.rejects(cache.answer('q', () => Promise.reject(new Error('away'))))
  assert.deepEqual([await text('q'), await text('q')], ['1', '1'])
  now = 1000
  assert.equal(await text('q'), '2')
  for (let other = 0; other < 1000; other++) await text(`other ${other}`)
  assert.equal(await text('other 999'), '1002')
  assert.equal(await text('q'), '1003')
})

test('Azure is asked by deployment, version and its own header', async () => {
  await using llm = open(openai, { apiType: 'AZURE', apiVersion: '2025-01-01-preview', model: 'my model' })
  await llm.converse(question({ messages: [{ role: 'developer', text: ['x'] }] }))
  const [{ path, headers, body }] = server.requests as [(typeof server.requests)[number]]
  assert.equal(path, '/openai/deployments/my%20model/chat/completions?api-version=2025-01-01-preview')
  assert.deepEqual([headers['api-key'], headers.authorization], [KEY, undefined])
  assert.equal(body.messages[0]?.role, 'developer')
  assert.throws(() => open(openai, { apiType: 'azure' }), /endpoint and apiVersion must be provided/)
  assert.throws(() => open(openai, { apiType: 'azure', endpoint: '', apiVersion: 'v' }), /endpoint and apiVersion must be provided/)
})

for (const [name, driver, variable, model] of [
  ['openai', openai, 'OPENAI_MODEL', 'gpt-5-nano'],
  ['ollama', ollama, 'OLLAMA_MODEL', 'llama3.2:latest'],
  ['mistral', mistral, 'MISTRAL_MODEL', 'open-mistral-7b'],
  ['deepseek', deepseek, undefined, 'deepseek-chat'],
  ['huggingface', huggingface, 'HUGGINGFACE_MODEL', 'deepseek-ai/DeepSeek-R1-Distill-Qwen-32B'],
] as const) {
  test(`conversation.${name} asks its model: by the environment, the metadata, or its own`, async () => {
    const modelAsked = async (properties: Record<string, string>) => {
      await using llm = open(driver, properties)
      return (await llm.converse(question({ messages: [{ role: 'developer', text: ['x'] }], responseFormat: { type: 'object' } }))).model
    }
    assert.equal(await modelAsked({}), model)
    assert.equal(await modelAsked({ model: 'given' }), 'given')
    if (variable) {
      process.env[variable] = 'from-environment'
      try {
        assert.equal(await modelAsked({ model: 'given' }), 'from-environment')
      } finally {
        delete process.env[variable]
      }
    }
    assert.ok(server.requests.every(({ body }) => body.messages[0]?.role === 'system'))
    assert.equal(server.requests[0]?.body.response_format?.type, name === 'deepseek' ? 'json_object' : 'json_schema')
  })
}

test('what a flavour needs or adds', async () => {
  for (const driver of [openai, mistral, deepseek, huggingface])
    assert.throws(() => open(driver, { key: '' }), /missing required metadata field key/)
  await using local = open(ollama, { key: '' })
  await assert.rejects(local.converse(question()), /401/)
  assert.equal(server.requests[0]?.headers.authorization, undefined)
  await using short = open(deepseek, { maxTokens: '7' })
  await short.converse(question({ metadata: { k: 'v' } }))
  assert.equal(server.requests[1]?.body.max_tokens, 7)
  assert.equal(server.requests[1]?.body.metadata, undefined)
  await using routed = open(huggingface, { endpoint: `${server.url}/{{model}}/v1/`, model: 'a/b' })
  await routed.converse(question())
  assert.equal(server.requests[2]?.path, '/a/b/v1/chat/completions')
  assert.throws(() => open(openai, { endpoint: 'ftp://x' }), /is not an http or https URL/)
})

test('a caller who leaves ends the request', async () => {
  const silent = createServer()
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  try {
    await using llm = open(openai, { endpoint: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` })
    const caller = new AbortController()
    const asked = once(silent, 'request')
    const answer = llm.converse(question(), caller.signal)
    const [request] = await asked
    const gone = new Promise((resolve) => request.once('error', resolve))
    caller.abort(new Error('left'))
    await assert.rejects(answer, /left/)
    await gone
  } finally {
    silent.closeAllConnections()
    silent.close()
  }
})

test('a service that is not there is named', async () => {
  await using llm = open(openai, { endpoint: 'http://127.0.0.1:1' })
  await assert.rejects(llm.converse(question()), /ECONNREFUSED 127\.0\.0\.1:1/)
})
