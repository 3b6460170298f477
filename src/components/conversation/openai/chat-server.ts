import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * For tests: a server that holds requests to the rules of the chat completions protocol, as its reference states them, and answers
 * from a script. It stands in for services that cannot be reached from here.
 */
export interface ChatServer extends AsyncDisposable {
  readonly url: string
  /** Requests taken, in their order. */
  readonly requests: { path: string; headers: IncomingHttpHeaders; body: Body }[]
  /** The next answers; without one the last message is repeated. */
  readonly script: Answer[]
}
export interface Answer {
  status?: number
  /** Of status 200: the choices' messages; else the whole body. */
  reply: unknown
  usage?: object
  reason?: string
}
interface Message {
  role: string
  content?: unknown
  tool_calls?: { id?: string; type?: string; function?: { name?: unknown; arguments?: unknown } }[]
  tool_call_id?: string
}
interface Body {
  model: string
  messages: Message[]
  temperature?: number
  tools?: { type?: string; function?: { name?: string; parameters?: { type?: string } } }[]
  tool_choice?: unknown
  response_format?: { type?: string; json_schema?: { name?: string; schema?: object; strict?: boolean } }
  [other: string]: unknown
}

const ROLES = ['developer', 'system', 'user', 'assistant', 'tool']
const KNOWN = [
  'model',
  'messages',
  'temperature',
  'tools',
  'tool_choice',
  'response_format',
  'max_tokens',
  'metadata',
  'prompt_cache_retention',
]

/** What the protocol would refuse a request for; undefined: nothing. */
function fault(body: Body): string | undefined {
  if (typeof body.model !== 'string' || body.model === '') return 'you must provide a model parameter'
  if (!Array.isArray(body.messages) || body.messages.length === 0) return "[] is too short - 'messages'"
  const unknown = Object.keys(body).find((name) => !KNOWN.includes(name))
  if (unknown) return `Unrecognized request argument supplied: ${unknown}`
  const open = new Set<string>()
  for (const [index, { role, content, tool_calls: calls, tool_call_id: answered }] of body.messages.entries()) {
    if (!ROLES.includes(role)) return `Invalid value: '${role}' at messages[${index}].role`
    if (role === 'tool') {
      if (!answered || !open.delete(answered))
        return `Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls' (messages[${index}])`
    } else if (open.size > 0) return `tool_call_ids did not have response messages: ${[...open].join(', ')}`
    for (const call of calls ?? []) {
      if (!call.id || call.type !== 'function' || typeof call.function?.name !== 'string' || typeof call.function.arguments !== 'string')
        return `Invalid tool call at messages[${index}]`
      open.add(call.id)
    }
    if (typeof content !== 'string' && !(role === 'assistant' && content === null && calls?.length))
      return `Invalid content at messages[${index}]`
  }
  for (const tool of body.tools ?? [])
    if (tool.type !== 'function' || !/^[\w-]{1,64}$/.test(tool.function?.name ?? '') || tool.function?.parameters?.type !== 'object')
      return 'Invalid tools'
  const choice = body.tool_choice as { type?: string; function?: { name?: string } } | string | undefined
  if (choice !== undefined) {
    if (!body.tools?.length) return "'tool_choice' is only allowed when 'tools' are specified"
    const named = typeof choice === 'object' && choice.type === 'function' && choice.function?.name
    if (!['auto', 'none', 'required'].includes(choice as string) && !body.tools.some((tool) => named && tool.function?.name === named))
      return "Invalid value for 'tool_choice'"
  }
  const { type, json_schema: schema } = body.response_format ?? {}
  if (type && type !== 'json_object' && !(type === 'json_schema' && schema?.name && schema.schema && typeof schema.strict === 'boolean'))
    return "Invalid 'response_format'"
  return undefined
}

/** @param accepted whether a request's headers let it in */
export async function startChatServer(accepted: (headers: IncomingHttpHeaders) => boolean): Promise<ChatServer> {
  const requests: ChatServer['requests'] = []
  const script: Answer[] = []
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(typeof body === 'string' ? body : JSON.stringify(body))
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Body
    requests.push({ path: request.url ?? '', headers: request.headers, body })
    const failing = (message: string, code: string) => ({ error: { message, type: 'invalid_request_error', param: null, code } })
    if (!accepted(request.headers)) {
      const given = String(request.headers.authorization ?? request.headers['api-key']).replace('Bearer ', '')
      return answer(401, failing(`Incorrect API key provided: ${given} (${given.slice(0, 5)}*****${given.slice(-3)}).`, 'invalid_api_key'))
    }
    if (request.method !== 'POST' || !request.headers['content-type']?.startsWith('application/json')) return answer(415, '')
    const wrong = fault(body)
    if (wrong) return answer(400, failing(wrong, 'invalid_value'))
    const next = script.shift()
    if (next?.status && next.status !== 200) return answer(next.status, next.reply)
    const messages = (next?.reply as object[] | undefined) ?? [{ role: 'assistant', content: body.messages.at(-1)?.content, refusal: null }]
    answer(200, {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1,
      model: `${body.model}-2025-01-01`,
      choices: messages.map((message, index) => ({ index, message, logprobs: null, finish_reason: next?.reason ?? 'stop' })),
      usage: next?.usage ?? { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    script,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
