import type { ConversationComponent } from '../../../blocks/conversation/driver.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, type MetadataValues, parseMetadata } from '../../metadata.ts'
import { shownAddress } from '../../shown-address.ts'
import { createResponseCache } from '../response-cache.ts'
import { chatBody, type Dialect, readChat } from './chat.ts'
import { createService } from './service.ts'

/** A service that speaks the chat completions protocol. */
export interface Flavour {
  summary: string
  /** Environment variable that outdoes the metadata; undefined: none. */
  modelVariable: string | undefined
  defaultModel: string
  /** `{{model}}` stands for the model. */
  defaultEndpoint: string
  keyRequired: boolean
  dialect: Omit<Dialect, 'maxTokens'>
  /** Fields besides the common ones. */
  fields?: readonly MetadataField[]
  /** Where and how to ask, when it is not `<endpoint>/chat/completions` with a bearer token. */
  address?: (values: MetadataValues, model: string) => { url: string; headers: Record<string, string> } | undefined
  /** Another variable and default for the model, by the other settings. */
  models?: (values: MetadataValues) => { variable: string; fallback: string } | undefined
}

const text = (value: MetadataValues[string]) => (value === undefined ? '' : String(value))

/** A driver for one flavour of service. */
export function chatDriver(flavour: Flavour): DriverModule<ConversationComponent> {
  const variable = flavour.modelVariable ? `; the environment variable ${flavour.modelVariable} goes before it` : ''
  const fields: readonly MetadataField[] = [
    { name: 'key', kind: 'string', required: flavour.keyRequired, sensitive: true, description: 'API key.' },
    { name: 'model', kind: 'string', default: flavour.defaultModel, description: `The model to ask${variable}.` },
    {
      name: 'endpoint',
      kind: 'string',
      default: flavour.defaultEndpoint,
      description: 'Base URL; `/chat/completions` is appended.',
    },
    {
      name: 'responseCacheTTL',
      kind: 'duration',
      aliases: ['cacheTTL'],
      description: 'How long an answer stands for exactly the same question; not at all when absent.',
    },
    ...(flavour.fields ?? []),
  ]
  return {
    summary: flavour.summary,
    metadata: fields,
    create(context) {
      const given = new Set(Object.entries(context.properties).flatMap(([name, value]) => (value === '' ? [] : [name.toLowerCase()])))
      const values = parseMetadata(fields, context.properties)
      const key = text(values.key)
      const other = flavour.models?.(values)
      const model = modelOf(
        other?.variable ?? flavour.modelVariable,
        given.has('model') ? text(values.model) : (other?.fallback ?? flavour.defaultModel),
      )
      const custom = flavour.address?.(values, model)
      const endpoint = text(values.endpoint).replaceAll('{{model}}', model).replace(/\/+$/, '')
      const address = custom?.url ?? `${endpoint}/chat/completions`
      if (!URL.canParse(address) || !/^https?:/.test(address))
        throw new MetadataError(`metadata field endpoint: "${shownAddress(endpoint)}" is not an http or https URL`)
      const service = createService({
        url: new URL(address),
        headers: custom?.headers ?? (key ? { authorization: `Bearer ${key}` } : {}),
        key,
      })
      const cache = createResponseCache(Number(values.responseCacheTTL ?? 0))
      const dialect: Dialect = {
        ...flavour.dialect,
        // Servers of other makers often know no such role.
        ...(given.has('endpoint') && !custom && { developerRole: 'system' }),
        maxTokens: Number(values.maxTokens ?? 0) || undefined,
      }
      return {
        async init() {},
        async converse(request, signal) {
          if (request.responseFormat && typeof request.responseFormat.type !== 'string')
            context.log.warn(`conversation component ${context.name}: the response format has no type and is left out`)
          const body = JSON.stringify(chatBody(model, request, dialect))
          return cache.answer(body, async () => {
            const result = readChat(await service.ask(body, signal))
            const empty = result.choices.every((choice) => choice.text === '' && choice.toolCalls.length === 0)
            if (request.toolChoice === 'required' && empty)
              throw new Error(`LLM returned empty response with no tool calls despite ${request.tools.length} tools being available`)
            return { ...result, model }
          })
        },
        [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
      }
    },
  }
}

function modelOf(variable: string | undefined, otherwise: string): string {
  return (variable && process.env[variable]) || otherwise
}
