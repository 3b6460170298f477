import { type ComponentSet, explained } from '../../components/sets.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import { type Around, once } from '../around.ts'
import type { ConversationComponent, ConversationMessage, ConversationRequest, ConversationResult, ConversationTool } from './driver.ts'
import { scrub } from './scrub.ts'

/** One input as an app sends it: what the wires leave open is undefined, and refused here, for both alike. */
export interface ConverseInput {
  messages: readonly (Omit<ConversationMessage, 'role' | 'toolCalls'> & {
    role: ConversationMessage['role'] | undefined
    toolCalls?: readonly ({ id?: string | undefined } & Partial<{ name: string; arguments: string }>)[] | undefined
  })[]
  /** Replaces personal data in the messages before the model sees them. */
  scrub: boolean
}

export interface ConverseRequest extends Omit<ConversationRequest, 'messages' | 'tools'> {
  inputs: readonly ConverseInput[]
  /** undefined: a tool of no known kind; it counts, and is not offered. */
  tools: readonly (ConversationTool | undefined)[]
  /** Replaces personal data in the answer. */
  scrubOutput: boolean
}

export interface ConversationBlock {
  /** Throws OutriderError for an unknown component, a request without inputs, one that makes no sense, or a failing model. */
  converse(component: string, request: ConverseRequest, signal?: AbortSignal): Promise<ConversationResult>
}

export interface ConversationOptions {
  components: ComponentSet<ConversationComponent>
  around?: Around
}

/** Talks to language models by component name. */
export function createConversationBlock(options: ConversationOptions): ConversationBlock {
  const around = options.around ?? once
  return {
    async converse(name, request, signal) {
      const found = options.components.get(name)
      if (!found) {
        const error = new OutriderError({
          code: 'ERR_CONVERSATION_NOT_FOUND',
          http: 400,
          grpc: Code.InvalidArgument,
          message: `failed finding conversation component ${name}`,
          hint: `Add a component of a conversation.* type; loaded: ${[...options.components.keys()].join(', ') || 'none'}.`,
        })
        throw explained(error, options.components, name)
      }
      if (request.inputs.length === 0) {
        throw new OutriderError({
          code: 'ERR_CONVERSATION_MISSING_INPUTS',
          http: 400,
          grpc: Code.InvalidArgument,
          message: `failed conversing with component ${name}: missing inputs in request`,
          hint: 'Send at least one input.',
        })
      }
      const { inputs, scrubOutput, ...rest } = request
      const messages = inputs.flatMap((input) => input.messages.map((message) => messageFrom(name, message, input.scrub)))
      const toolChoice = choiceFrom(name, request.toolChoice, request.tools)
      const tools = request.tools.filter((tool) => tool !== undefined)
      try {
        const result = await around(
          name,
          'converse',
          (inner) => found.component.converse({ ...rest, messages, tools, toolChoice }, inner),
          signal,
        )
        if (!scrubOutput) return result
        return { ...result, choices: result.choices.map((choice) => ({ ...choice, text: scrub(choice.text) })) }
      } catch (error) {
        if (error instanceof OutriderError) throw error
        throw new OutriderError({
          code: 'ERR_CONVERSATION_INVOKE',
          http: 500,
          grpc: Code.Internal,
          message: `failed conversing with component ${name}: ${messageOf(error)}`,
          cause: error,
        })
      }
    },
  }
}

function messageFrom(component: string, message: ConverseInput['messages'][number], scrubbed: boolean): ConversationMessage {
  const { role, text, toolCalls, answers } = message
  if (!role)
    throw invalid(
      component,
      'message type cannot be nil',
      'Each message is one of of_developer, of_system, of_user, of_assistant, of_tool.',
    )
  return {
    role,
    text: scrubbed ? text.map(scrub) : text,
    answers,
    toolCalls: toolCalls?.map(({ id, name, arguments: given }) => {
      if (name === undefined || given === undefined)
        throw invalid(component, 'tool types cannot be nil', 'Give each tool call its function.')
      return { id, name, arguments: given }
    }),
  }
}

const CHOICES = "'auto', 'none', 'required', or a specific tool name matching the tools available to be used"

function choiceFrom(component: string, choice: string, tools: ConverseRequest['tools']): string {
  if (choice === '' && tools.length > 0) return 'auto'
  if (choice === '' || choice === 'auto' || choice === 'none') return choice
  if (choice === 'required') {
    if (tools.length === 0) throw invalid(component, `tool choice must be ${CHOICES}`, 'Offer tools, or leave tool_choice out.')
    return choice
  }
  if (tools.length > 0 && !tools.some((tool) => tool?.name === choice))
    throw invalid(
      component,
      `tool choice selected was not found. Must be ${CHOICES}`,
      `Tools of the request: ${tools.map((tool) => tool?.name).join(', ')}.`,
    )
  return choice
}

function invalid(component: string, reason: string, hint: string): OutriderError {
  return new OutriderError({
    code: 'ERR_CONVERSATION_INVALID_PARMS',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `failed conversing with component ${component}: invalid params: ${reason}`,
    hint,
  })
}
