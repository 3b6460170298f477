import type { Component } from '../../components/component.ts'

export interface ToolCall {
  id?: string
  name: string
  /** JSON text. */
  arguments: string
}

export interface ConversationMessage {
  role: 'developer' | 'system' | 'user' | 'assistant' | 'tool'
  name?: string | undefined
  text: readonly string[]
  toolCalls?: readonly ToolCall[] | undefined
  /** Of a tool's answer: the call it answers. */
  toolId?: string | undefined
}

export interface ConversationTool {
  name: string
  /** Names of the tool's parameters. */
  parameters: readonly string[]
}

export interface ConversationRequest {
  messages: readonly ConversationMessage[]
  tools: readonly ConversationTool[]
}

export interface ConversationResult {
  text: string
  toolCalls: readonly ToolCall[]
  finishReason: string
  usage?: { prompt: number; completion: number } | undefined
  model?: string | undefined
}

/** One language model. */
export interface ConversationComponent extends Component {
  converse(request: ConversationRequest, signal?: AbortSignal): Promise<ConversationResult>
}
