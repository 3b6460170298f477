import type { Component } from '../../components/component.ts'

export interface ToolCall {
  id?: string | undefined
  name: string
  /** JSON text. */
  arguments: string
}

export type Role = 'developer' | 'system' | 'user' | 'assistant' | 'tool'

export interface ConversationMessage {
  role: Role
  /** Parts of one text. */
  text: readonly string[]
  /** Of an assistant's message: what it asked for. */
  toolCalls?: readonly ToolCall[] | undefined
  /** Of a tool's answer: the call it answers. Undefined where the first version of the API gave a role and no more. */
  answers?: { id: string; name: string } | undefined
}

export interface ConversationTool {
  name: string
  description: string
  /** JSON Schema of the arguments, as an object; undefined when the tool takes none. */
  parameters: Record<string, unknown> | undefined
}

export interface ConversationRequest {
  messages: readonly ConversationMessage[]
  tools: readonly ConversationTool[]
  /** `auto`, `none`, `required` or a tool's name; empty: the model's own default. */
  toolChoice: string
  /** 0: the model's own default. */
  temperature: number
  /** JSON Schema that the answer must follow. */
  responseFormat: Record<string, unknown> | undefined
  /** Milliseconds that the provider may keep the prompt. */
  promptCacheRetention: number | undefined
  metadata: Readonly<Record<string, string>>
}

export interface Usage {
  completion: number
  prompt: number
  total: number
  /** Parts of the completion's tokens, when the provider counts them. */
  completionDetails?: { acceptedPrediction: number; audio: number; reasoning: number; rejectedPrediction: number } | undefined
  promptDetails?: { audio: number; cached: number } | undefined
}

export interface Choice {
  text: string
  toolCalls: readonly ToolCall[]
  finishReason: string
}

export interface ConversationResult {
  choices: readonly Choice[]
  usage?: Usage | undefined
  model?: string | undefined
}

/** One language model. */
export interface ConversationComponent extends Component {
  converse(request: ConversationRequest, signal?: AbortSignal): Promise<ConversationResult>
}
