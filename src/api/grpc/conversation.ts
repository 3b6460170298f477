import type { ConversationBlock, ConverseInput, ConverseRequest } from '../../blocks/conversation/block.ts'
import type { ConversationResult, Role, Usage } from '../../blocks/conversation/driver.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import { structObject } from './conversation-json.ts'
import {
  type ConversationMessage,
  ConversationRequest,
  ConversationRequestAlpha2,
  ConversationResponse,
  ConversationResponseAlpha2,
} from './conversation-messages.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

export function conversationMethods(conversation: ConversationBlock): GrpcMethods {
  return [
    daprUnary('ConverseAlpha1', ConversationRequest, ConversationResponse, (request, call) =>
      converseAlpha1(conversation, request, call.signal),
    ),
    daprUnary('ConverseAlpha2', ConversationRequestAlpha2, ConversationResponseAlpha2, (request, call) =>
      converseAlpha2(conversation, request, call.signal),
    ),
  ]
}

/** ConverseAlpha1 on messages: what both wires do between decoding and encoding. */
export async function converseAlpha1(
  conversation: ConversationBlock,
  request: ConversationRequest,
  signal: AbortSignal,
): Promise<InputOf<typeof ConversationResponse>> {
  const result = await conversation.converse(
    request.name,
    {
      inputs: request.inputs.map(({ content, role, scrubPII }) => ({
        messages: [{ role: ROLES[role ?? ''] ?? 'user', text: [content] }],
        scrub: scrubPII ?? false,
      })),
      scrubOutput: request.scrubPII ?? false,
      temperature: request.temperature ?? 0,
      tools: [],
      toolChoice: '',
      responseFormat: undefined,
      promptCacheRetention: undefined,
      metadata: {},
    },
    signal,
  )
  return {
    contextID: request.contextID || undefined,
    outputs: result.choices.map(({ text }) => ({ result: text, parameters: request.parameters })),
  }
}

/** The words of the first API for who speaks; whoever else is the user. */
const ROLES: Readonly<Record<string, Role>> = { system: 'system', assistant: 'assistant', ai: 'assistant', tool: 'tool' }

/** ConverseAlpha2 on messages. */
export async function converseAlpha2(
  conversation: ConversationBlock,
  request: ConversationRequestAlpha2,
  signal: AbortSignal,
): Promise<InputOf<typeof ConversationResponseAlpha2>> {
  const retention = request.promptCacheRetention
  const asked: ConverseRequest = {
    inputs: request.inputs.map(({ messages, scrubPii }) => ({ messages: messages.map(messageFrom), scrub: scrubPii ?? false })),
    scrubOutput: request.scrubPii ?? false,
    temperature: request.temperature ?? 0,
    tools: request.tools.map(
      ({ function: tool }) => tool && { name: tool.name, description: tool.description ?? '', parameters: structObject(tool.parameters) },
    ),
    toolChoice: request.toolChoice ?? '',
    responseFormat: structObject(request.responseFormat),
    promptCacheRetention: retention && retention.seconds * 1000 + retention.nanos / 1e6,
    metadata: request.metadata,
  }
  return answerFrom(await conversation.converse(request.name, asked, signal), request.contextId)
}

function messageFrom(message: ConversationMessage): ConverseInput['messages'][number] {
  const { ofDeveloper, ofSystem, ofUser, ofAssistant, ofTool } = message
  const plain = ofDeveloper ?? ofSystem ?? ofUser ?? ofAssistant ?? ofTool
  return {
    role: ofDeveloper ? 'developer' : ofSystem ? 'system' : ofUser ? 'user' : ofAssistant ? 'assistant' : ofTool ? 'tool' : undefined,
    text: plain?.content.map(({ text }) => text) ?? [],
    ...(ofAssistant && { toolCalls: ofAssistant.toolCalls.map(({ id, function: call }) => ({ id, ...call })) }),
    ...(ofTool && { answers: { id: ofTool.toolId ?? '', name: ofTool.name } }),
  }
}

/** One output for each choice; usage and model are the whole answer's and stand in each. */
function answerFrom({ choices, model, usage }: ConversationResult, contextId: string | undefined) {
  return {
    contextId: contextId || undefined,
    outputs: choices.map(({ finishReason, text, toolCalls }, index) => ({
      choices: [
        {
          finishReason,
          index,
          message: {
            content: text,
            toolCalls: toolCalls.map(({ id, name, arguments: given }) => ({ id: id || undefined, function: { name, arguments: given } })),
          },
        },
      ],
      model: model || undefined,
      usage: usage && usageFrom(usage),
    })),
  }
}

function usageFrom({ completion, prompt, total, completionDetails, promptDetails }: Usage) {
  return {
    completionTokens: completion,
    promptTokens: prompt,
    totalTokens: total,
    completionTokensDetails: completionDetails && {
      acceptedPredictionTokens: completionDetails.acceptedPrediction,
      audioTokens: completionDetails.audio,
      reasoningTokens: completionDetails.reasoning,
      rejectedPredictionTokens: completionDetails.rejectedPrediction,
    },
    promptTokensDetails: promptDetails && { audioTokens: promptDetails.audio, cachedTokens: promptDetails.cached },
  }
}
