import type {
  Choice,
  ConversationMessage,
  ConversationRequest,
  ConversationResult,
  ConversationTool,
  Usage,
} from '../../../blocks/conversation/driver.ts'

/** The chat completions protocol: https://platform.openai.com/docs/api-reference/chat. */

/** What services that speak the protocol differ in. */
export interface Dialect {
  /** Role for instructions of the app's developer. */
  developerRole: 'developer' | 'system'
  /** How an answer's form is asked for: by its schema, or as any JSON. */
  responseFormat: 'json_schema' | 'json_object'
  /** Whether request metadata and the prompt's retention are understood. */
  extensions: boolean
  maxTokens: number | undefined
}

/** Models that refuse any temperature but their own; Dapr leaves it out for them too. */
const OWN_TEMPERATURE = /^(?:o\d(?:-|$)|gpt-5)/
const DAY = 24 * 60 * 60 * 1000

/** A request's body. Throws an Error for a message that the protocol cannot carry. */
export function chatBody(model: string, request: ConversationRequest, dialect: Dialect): Record<string, unknown> {
  const { tools, toolChoice, temperature, responseFormat, promptCacheRetention, metadata } = request
  return {
    model,
    messages: request.messages.map((message) => messageBody(message, dialect)),
    ...(temperature > 0 && !OWN_TEMPERATURE.test(model) && { temperature }),
    ...(dialect.maxTokens && { max_tokens: dialect.maxTokens }),
    ...(tools.length > 0 && { tools: tools.map(toolBody), ...(toolChoice !== '' && { tool_choice: choiceBody(toolChoice) }) }),
    ...(typeof responseFormat?.type === 'string' && { response_format: formatBody(responseFormat, dialect) }),
    // The protocol knows one time besides its default of minutes; less than that is never rounded up to it.
    ...(dialect.extensions && (promptCacheRetention ?? 0) >= DAY && { prompt_cache_retention: '24h' }),
    ...(dialect.extensions && Object.keys(metadata).length > 0 && { metadata }),
  }
}

function messageBody({ role, text, toolCalls, answers }: ConversationMessage, dialect: Dialect): Record<string, unknown> {
  const content = text.join('\n')
  switch (role) {
    case 'developer':
      return { role: dialect.developerRole, content }
    case 'assistant':
      if (!toolCalls?.length) return { role, content }
      return {
        role,
        content: content === '' ? null : content,
        tool_calls: toolCalls.map((call) => ({
          ...(call.id && { id: call.id }),
          type: 'function',
          function: { name: call.name, arguments: call.arguments },
        })),
      }
    case 'tool':
      if (!answers) throw new Error("a tool's answer must name the call that it answers: use the second version of the API")
      return { role, tool_call_id: answers.id, content }
    default:
      return { role, content }
  }
}

function toolBody({ name, description, parameters }: ConversationTool) {
  return {
    type: 'function',
    function: { name, ...(description && { description }), parameters: parameters ?? { type: 'object', properties: {} } },
  }
}

function choiceBody(choice: string): unknown {
  return ['auto', 'none', 'required'].includes(choice) ? choice : { type: 'function', function: { name: choice } }
}

function formatBody({ name, strict, ...schema }: Record<string, unknown>, dialect: Dialect) {
  if (dialect.responseFormat === 'json_object') return { type: 'json_object' }
  const description = typeof schema.description === 'string' ? { description: schema.description } : {}
  const named = typeof name === 'string' && name !== '' ? name : 'response'
  return { type: 'json_schema', json_schema: { name: named, ...description, strict: strict === true, schema } }
}

type Fields = Record<string, unknown>

/** The answer in a reply. Throws an Error when it has none. */
export function readChat(reply: unknown): ConversationResult {
  const { choices, usage } = fields(reply)
  if (!Array.isArray(choices) || choices.length === 0) throw new Error('the model answered without a choice')
  return { choices: choices.map((choice: unknown) => readChoice(fields(choice))), usage: readUsage(fields(usage)) }
}

function readChoice({ message, finish_reason: reason }: Fields): Choice {
  const { content, refusal, tool_calls: calls } = fields(message)
  return {
    text: textOf(content) || textOf(refusal),
    finishReason: typeof reason === 'string' && reason !== '' ? reason : 'unknown',
    toolCalls: (Array.isArray(calls) ? calls : []).map((call: unknown) => {
      const { id, function: called } = fields(call)
      const { name, arguments: given } = fields(called)
      // Some services send the arguments as an object.
      return { id: textOf(id) || undefined, name: textOf(name), arguments: typeof given === 'string' ? given : JSON.stringify(given ?? {}) }
    }),
  }
}

/** A text, or parts of which those of type text count. */
function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part: unknown) => (fields(part).type === 'text' ? textOf(fields(part).text) : '')).join('')
}

function readUsage(usage: Fields): Usage | undefined {
  const completion = count(usage.completion_tokens)
  const prompt = count(usage.prompt_tokens)
  const total = count(usage.total_tokens) || completion + prompt
  if (total === 0) return undefined
  const of = fields(usage.completion_tokens_details)
  const completionDetails = {
    acceptedPrediction: count(of.accepted_prediction_tokens),
    audio: count(of.audio_tokens),
    reasoning: count(of.reasoning_tokens),
    rejectedPrediction: count(of.rejected_prediction_tokens),
  }
  const cached = fields(usage.prompt_tokens_details)
  const promptDetails = { audio: count(cached.audio_tokens), cached: count(cached.cached_tokens) }
  return {
    completion,
    prompt,
    total,
    completionDetails: counted(completionDetails),
    promptDetails: counted(promptDetails),
  }
}

function counted<T extends Record<string, number>>(details: T): T | undefined {
  return Object.values(details).some((value) => value > 0) ? details : undefined
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0
}

/** What a service says in a reply that is an error, in the forms that are about; undefined when it says nothing. */
export function readError(reply: unknown): string | undefined {
  const { error, message, detail } = fields(reply)
  const said = textOf(error) || textOf(fields(error).message) || textOf(message) || textOf(detail)
  return said || (detail === undefined ? undefined : JSON.stringify(detail).slice(0, 500))
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}
