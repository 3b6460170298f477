import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { createConversationBlock } from '../../blocks/conversation/block.ts'
import type { ConversationRequest as Asked, ConversationComponent, ConversationResult } from '../../blocks/conversation/driver.ts'
import { driver as echo } from '../../components/conversation/echo/driver.ts'
import type { Named } from '../../components/sets.ts'
import { Code } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import { conversationRoutes } from '../http/routes/conversation.ts'
import { HttpApi } from '../http/server.ts'
import { conversationMethods } from './conversation.ts'
import {
  ConversationRequest,
  ConversationRequestAlpha2,
  ConversationResponse,
  ConversationResponseAlpha2,
} from './conversation-messages.ts'
import { serveGrpc } from './harness.ts'

const asked: Asked[] = []
let answer: ConversationResult = { choices: [] }
const model: ConversationComponent = {
  async init() {},
  async converse(request) {
    asked.push(request)
    return answer
  },
  async [Symbol.asyncDispose]() {},
}
const named = (name: string, component: ConversationComponent): [string, Named<ConversationComponent>] => [
  name,
  { name, type: `conversation.${name}`, version: 'v1', component, properties: {} },
]
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const context = { name: 'echo', type: 'conversation.echo', version: 'v1', properties: {}, appId: 'app', namespace: 'default', log }
const block = createConversationBlock({ components: new Map([named('echo', echo.create(context)), named('model', model)]) })

const grpc = await serveGrpc({ methods: conversationMethods(block) })
const http = new HttpApi({ routes: conversationRoutes(block), maxBodySize: 0, readBufferSize: 4096, h2c: false })
const port = await http.listen({ host: '127.0.0.1', port: 0 })
after(async () => {
  await grpc[Symbol.asyncDispose]()
  await http.close(0)
})

const alpha1 = async (request: InputOf<typeof ConversationRequest>) =>
  ConversationResponse.decode(await grpc.call('ConverseAlpha1', ConversationRequest.encode(request)))
const alpha2 = async (request: InputOf<typeof ConversationRequestAlpha2>) =>
  ConversationResponseAlpha2.decode(await grpc.call('ConverseAlpha2', ConversationRequestAlpha2.encode(request)))
const post = async (version: string, component: string, body: unknown) => {
  const reply = await fetch(`http://127.0.0.1:${port}/v1.0-${version}/conversation/${component}/converse`, {
    method: 'POST',
    body: JSON.stringify(body),
  })
  return { status: reply.status, body: (await reply.json()) as Record<string, unknown> }
}
const user = (...texts: string[]) => ({ ofUser: { content: texts.map((text) => ({ text })) } })
const says = (content: string) => ({ finishReason: 'stop', message: { content } })

test('alpha1 makes one request of all inputs, and one output of the answer', async () => {
  const any = { typeUrl: 'type.googleapis.com/google.protobuf.StringValue', value: Buffer.from([10, 1, 120]) }
  const reply = await alpha1({
    name: 'echo',
    contextID: 'c',
    inputs: [{ content: 'one' }, { content: 'two', role: 'tool' }],
    parameters: { k: any },
  })
  assert.equal(reply.contextID, 'c')
  assert.deepEqual(
    reply.outputs.map(({ result }) => result),
    ['one\ntwo'],
  )
  assert.deepEqual(reply.outputs[0]?.parameters.k, any)
  const parameters = { k: { '@type': any.typeUrl, value: 'x' }, none: {} }
  assert.deepEqual(await post('alpha1', 'echo', { contextID: 'c', inputs: [{ content: 'one' }], parameters }), {
    status: 200,
    body: { contextID: 'c', outputs: [{ result: 'one', parameters }] },
  })
})

test('roles of alpha1 keep their meaning', async () => {
  asked.length = 0
  await alpha1({
    name: 'model',
    inputs: ['', 'human', 'system', 'ai', 'assistant', 'generic', 'odd'].map((role) => ({ content: 'x', role })),
    temperature: 0.5,
  })
  assert.deepEqual(
    asked[0]?.messages.map(({ role }) => role),
    ['user', 'user', 'system', 'assistant', 'assistant', 'user', 'user'],
  )
  assert.equal(asked[0]?.temperature, 0.5)
})

test('everything of alpha2 reaches the model, over both wires alike', async () => {
  const parameters = { type: 'object', properties: { city: { type: 'string', enum: ['a', 1, true, null] }, deep: { list: [{ x: [] }] } } }
  const struct = (value: Record<string, unknown>): { fields: Record<string, object> } => ({
    fields: Object.fromEntries(Object.entries(value).map(([name, item]) => [name, protoValue(item)])),
  })
  const protoValue = (value: unknown): object => {
    if (value === null) return { nullValue: 0 }
    if (Array.isArray(value)) return { listValue: { values: value.map(protoValue) } }
    if (typeof value === 'object') return { structValue: struct(value as Record<string, unknown>) }
    return { [`${typeof value === 'boolean' ? 'bool' : typeof value}Value`]: value }
  }
  const common = {
    inputs: [
      {
        messages: [
          { ofSystem: { content: [{ text: 'be brief' }] } },
          { ofDeveloper: { name: 'd', content: [{ text: 'no jokes' }] } },
          user('a', 'b'),
          { ofAssistant: { content: [], toolCalls: [{ id: 'c1', function: { name: 'weather', arguments: '{}' } }] } },
          { ofTool: { toolId: 'c1', name: 'weather', content: [{ text: 'rain' }] } },
        ],
      },
      { messages: [user('c')] },
    ],
    temperature: 0.25,
    toolChoice: 'weather',
    metadata: { k: 'v' },
  }
  asked.length = 0
  await alpha2({
    ...common,
    name: 'model',
    tools: [{ function: { name: 'weather', description: 'looks out', parameters: struct(parameters) as never } }],
    responseFormat: struct({ type: 'object' }) as never,
    promptCacheRetention: { seconds: 90, nanos: 500_000_000 },
  })
  await post('alpha2', 'model', {
    ...common,
    tools: [{ function: { name: 'weather', description: 'looks out', parameters } }],
    responseFormat: { type: 'object' },
    promptCacheRetention: '90.5s',
  })
  assert.deepEqual(plain(asked[1]), plain(asked[0]))
  assert.deepEqual(plain(asked[0]), {
    messages: [
      { role: 'system', text: ['be brief'] },
      { role: 'developer', text: ['no jokes'] },
      { role: 'user', text: ['a', 'b'] },
      { role: 'assistant', text: [], toolCalls: [{ id: 'c1', name: 'weather', arguments: '{}' }] },
      { role: 'tool', text: ['rain'], answers: { id: 'c1', name: 'weather' } },
      { role: 'user', text: ['c'] },
    ],
    tools: [{ name: 'weather', description: 'looks out', parameters }],
    toolChoice: 'weather',
    temperature: 0.25,
    responseFormat: { type: 'object' },
    promptCacheRetention: 90_500,
    metadata: { k: 'v' },
  })
})

const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown

test('an answer comes whole: choices, tool calls, usage, model, context', async () => {
  answer = {
    choices: [
      { text: '', toolCalls: [{ id: 'c', name: 'f', arguments: '{"a":1}' }], finishReason: 'tool_calls' },
      { text: 'two', toolCalls: [], finishReason: 'stop' },
    ],
    model: 'm-1',
    usage: {
      completion: 3,
      prompt: 4,
      total: 7,
      completionDetails: { acceptedPrediction: 0, audio: 0, reasoning: 2, rejectedPrediction: 0 },
      promptDetails: { audio: 0, cached: 1 },
    },
  }
  const usage = {
    completionTokens: '3',
    promptTokens: '4',
    totalTokens: '7',
    completionTokensDetails: { reasoningTokens: '2' },
    promptTokensDetails: { cachedTokens: '1' },
  }
  const { body } = await post('alpha2', 'model', { contextId: 'x', inputs: [{ messages: [user('a')] }] })
  assert.deepEqual(body, {
    contextId: 'x',
    outputs: [
      {
        choices: [{ finishReason: 'tool_calls', message: { toolCalls: [{ id: 'c', function: { name: 'f', arguments: '{"a":1}' } }] } }],
        model: 'm-1',
        usage,
      },
      { choices: [{ finishReason: 'stop', index: '1', message: { content: 'two' } }], model: 'm-1', usage },
    ],
  })
  const reply = await alpha2({ name: 'model', contextId: 'x', inputs: [{ messages: [user('a')] }] })
  assert.equal(reply.contextId, 'x')
  assert.deepEqual(
    reply.outputs.map(({ choices, model, usage }) => [choices[0]?.index, choices[0]?.finishReason, model, usage?.totalTokens]),
    [
      [0, 'tool_calls', 'm-1', 7],
      [1, 'stop', 'm-1', 7],
    ],
  )
  assert.deepEqual(reply.outputs[0]?.choices[0]?.message?.toolCalls, [{ id: 'c', function: { name: 'f', arguments: '{"a":1}' } }])
})

test('echo repeats texts and tool answers, calls what is offered and repeats what was called', async () => {
  const messages = [
    user('a b'),
    { ofAssistant: { content: [{ text: 'c' }], toolCalls: [{ id: 'c1', function: { name: 'f', arguments: '{}' } }] } },
    { ofTool: { toolId: 'c1', name: 'f', content: [{ text: 'x' }, { text: 'y' }] } },
  ]
  const tools = [{ function: { name: 'bar' } }, {}, { function: { name: 'foo', parameters: { properties: { z: {}, a: {} } } } }]
  const { body } = await post('alpha2', 'echo', { inputs: [{ messages }], tools })
  assert.deepEqual(body, {
    outputs: [
      {
        choices: [
          {
            finishReason: 'tool_calls',
            message: {
              content: "a b\nc\nTool Response for tool ID 'c1' with name 'f': x\nTool Response for tool ID 'c1' with name 'f': y",
              toolCalls: [
                { id: '0', function: { name: 'bar' } },
                { id: '1', function: { name: 'foo', arguments: 'a,z' } },
                { id: 'c1', function: { name: 'f', arguments: '{}' } },
              ],
            },
          },
        ],
        usage: { completionTokens: '23', promptTokens: '23', totalTokens: '46' },
      },
    ],
  })
})

test('personal data is taken out of inputs that ask for it, and out of answers', async () => {
  const text = 'from 10.8.9.1 and a@b.co'
  const inputs = (scrub: boolean) => [{ messages: [user(text)], scrubPii: scrub }]
  const said = async (request: object) => (await post('alpha2', 'echo', request)).body.outputs
  for (const [request, expected] of [
    [{ inputs: inputs(true) }, 'from <IP> and <EMAIL_ADDRESS>'],
    [{ inputs: inputs(false) }, text],
    [{ inputs: inputs(false), scrubPii: true }, 'from <IP> and <EMAIL_ADDRESS>'],
    [{ inputs: [...inputs(true), ...inputs(false)] }, `from <IP> and <EMAIL_ADDRESS>\n${text}`],
  ] as const)
    assert.deepEqual((await said(request)) as object, [{ choices: [says(expected)], usage: (await usageOf(expected)) as object }])
  const first = await alpha1({ name: 'echo', inputs: [{ content: text, scrubPII: true }, { content: text }] })
  assert.equal(first.outputs[0]?.result, `from <IP> and <EMAIL_ADDRESS>\n${text}`)
  assert.equal(
    (await alpha1({ name: 'echo', inputs: [{ content: text }], scrubPII: true })).outputs[0]?.result,
    'from <IP> and <EMAIL_ADDRESS>',
  )
})

async function usageOf(text: string) {
  const count = text.split(/\s+/).length
  return { completionTokens: String(count), promptTokens: String(count), totalTokens: String(2 * count) }
}

for (const [what, request, code, message] of [
  ['an unknown component', { name: 'no' }, 'ERR_CONVERSATION_NOT_FOUND', 'failed finding conversation component no'],
  ['no inputs', { name: 'echo' }, 'ERR_CONVERSATION_MISSING_INPUTS', 'failed conversing with component echo: missing inputs in request'],
  ['a message of no kind', { name: 'echo', inputs: [{ messages: [{}] }] }, 'ERR_CONVERSATION_INVALID_PARMS', /message type cannot be nil$/],
  [
    'a tool call of no kind',
    { name: 'echo', inputs: [{ messages: [{ ofAssistant: { toolCalls: [{ id: 'x' }] } }] }] },
    'ERR_CONVERSATION_INVALID_PARMS',
    /tool types cannot be nil$/,
  ],
  [
    'a choice without tools',
    { name: 'echo', inputs: [{ messages: [user('a')] }], toolChoice: 'required' },
    'ERR_CONVERSATION_INVALID_PARMS',
    /invalid params: tool choice must be 'auto'/,
  ],
  [
    'a choice that is not offered',
    { name: 'echo', inputs: [{ messages: [user('a')] }], toolChoice: 'foo', tools: [{ function: { name: 'bar' } }] },
    'ERR_CONVERSATION_INVALID_PARMS',
    /tool choice selected was not found/,
  ],
] as const) {
  test(`${what} is refused over both wires`, async () => {
    await assert.rejects(alpha2(request as InputOf<typeof ConversationRequestAlpha2>), { code: Code.InvalidArgument, message })
    const { status, body } = await post('alpha2', request.name, request)
    assert.deepEqual([status, body.errorCode], [400, code])
    assert.match(String(body.message), typeof message === 'string' ? new RegExp(`^${message}$`) : message)
  })
}

test('a tool is offered with the choice left to the model unless one is made', async () => {
  for (const [toolChoice, expected] of [
    [undefined, 'auto'],
    ['none', 'none'],
    ['required', 'required'],
    ['f', 'f'],
  ] as const) {
    asked.length = 0
    await alpha2({ name: 'model', inputs: [{ messages: [user('a')] }], toolChoice, tools: [{ function: { name: 'f' } }] })
    assert.equal(asked[0]?.toolChoice, expected)
  }
})

test('a failing model is Internal with its reason, and abandoned when the caller leaves', async () => {
  const failing = createConversationBlock({
    components: new Map([
      named('bad', { ...model, converse: () => Promise.reject(new Error('model is away')) }),
      named('slow', {
        ...model,
        converse: async (_, signal) => {
          started.resolve()
          await once(signal as AbortSignal, 'abort')
          left.resolve()
          throw new Error('left')
        },
      }),
    ]),
  })
  const started = Promise.withResolvers<void>()
  const left = Promise.withResolvers<void>()
  await using api = await serveGrpc({ methods: conversationMethods(failing) })
  const inputs = [{ content: 'x' }]
  await assert.rejects(api.call('ConverseAlpha1', ConversationRequest.encode({ name: 'bad', inputs })), {
    code: Code.Internal,
    message: 'failed conversing with component bad: model is away',
  })
  const caller = new AbortController()
  const path = '/dapr.proto.runtime.v1.Dapr/ConverseAlpha1'
  const call = api.client.unary(api.address, path, ConversationRequest.encode({ name: 'slow', inputs }), { signal: caller.signal })
  await started.promise
  caller.abort()
  await assert.rejects(call, { code: Code.Canceled })
  await left.promise
})

for (const body of [
  '{',
  '[]',
  '{"inputs":5}',
  '{"inputs":[{"messages":[{"ofUser":{"content":[{"text":5}]}}]}]}',
  '{"promptCacheRetention":"24h"}',
  '{"tools":[{"function":{"parameters":[]}}]}',
  '{"inputs":[{"messages":[{"ofUser":{},"ofTool":{}}]}]}',
  '{"temperature":"warm"}',
  '{"metadata":{"a":1}}',
]) {
  test(`a body that is not the message is refused: ${body}`, async () => {
    const url = `http://127.0.0.1:${port}/v1.0-alpha2/conversation/echo/converse`
    const reply = await fetch(url, { method: 'POST', body })
    const { errorCode, message } = (await reply.json()) as Record<string, string>
    assert.deepEqual([reply.status, errorCode], [400, 'ERR_MALFORMED_REQUEST'])
    assert.match(message as string, /^failed deserializing HTTP body: proto: /)
  })
}
