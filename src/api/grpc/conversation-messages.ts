import {
  bool,
  bytes,
  double,
  enumeration,
  int32,
  int64,
  type MessageOf,
  type MessageType,
  map,
  mapOf,
  message,
  nested,
  optional,
  repeated,
  string,
  uint64,
} from '../../transport/grpc/message.ts'

/** dapr/proto/runtime/v1/ai.proto, and the well-known types that it uses. */
const of = 'dapr.proto.runtime.v1.'

export const Any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) })
export const Duration = message('google.protobuf.Duration', { seconds: int64(1), nanos: int32(2) })

interface ValueMessage {
  nullValue?: number | undefined
  numberValue?: number | undefined
  stringValue?: string | undefined
  boolValue?: boolean | undefined
  structValue?: StructMessage | undefined
  listValue?: { values: ValueMessage[] } | undefined
}
export interface StructMessage {
  fields: Record<string, ValueMessage>
}
const NullValue = { fullName: 'google.protobuf.NullValue', values: { 0: 'NULL_VALUE' } }
const Value: MessageType<ValueMessage> = message('google.protobuf.Value', {
  nullValue: optional(enumeration(1, NullValue)),
  numberValue: optional(double(2)),
  stringValue: optional(string(3)),
  boolValue: optional(bool(4)),
  structValue: nested(5, (): MessageType<StructMessage> => Struct),
  listValue: nested(6, (): MessageType<{ values: ValueMessage[] }> => ListValue),
}) as MessageType<ValueMessage>
export const Struct = message('google.protobuf.Struct', { fields: mapOf(1, Value) }) as MessageType<StructMessage>
const ListValue = message('google.protobuf.ListValue', { values: repeated(nested(1, Value)) }) as MessageType<{ values: ValueMessage[] }>

/** A google.protobuf.Struct as the object it stands for. */
export function objectOf({ fields }: StructMessage): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plainOf(value)]))
}

function plainOf(value: ValueMessage): unknown {
  if (value.structValue) return objectOf(value.structValue)
  if (value.listValue) return value.listValue.values.map(plainOf)
  return value.stringValue ?? value.numberValue ?? value.boolValue ?? null
}

const Content = message(`${of}ConversationMessageContent`, { text: string(1) })
const plain = (name: string) =>
  message(`${of}ConversationMessageOf${name}`, { name: optional(string(1)), content: repeated(nested(2, Content)) })
const ToolCalls = message(`${of}ConversationToolCalls`, {
  id: optional(string(1)),
  function: nested(2, message(`${of}ConversationToolCallsOfFunction`, { name: string(1), arguments: string(2) })),
})
const ConversationMessage = message(`${of}ConversationMessage`, {
  ofDeveloper: nested(1, plain('Developer')),
  ofSystem: nested(2, plain('System')),
  ofUser: nested(3, plain('User')),
  ofAssistant: nested(
    4,
    message(`${of}ConversationMessageOfAssistant`, {
      name: optional(string(1)),
      content: repeated(nested(2, Content)),
      toolCalls: repeated(nested(3, ToolCalls)),
    }),
  ),
  ofTool: nested(
    5,
    message(`${of}ConversationMessageOfTool`, { toolId: optional(string(1)), name: string(2), content: repeated(nested(3, Content)) }),
  ),
})
export type ConversationMessage = MessageOf<typeof ConversationMessage>

export const ConversationRequest = message(`${of}ConversationRequest`, {
  name: string(1),
  contextID: optional(string(2)),
  inputs: repeated(
    nested(3, message(`${of}ConversationInput`, { content: string(1), role: optional(string(2)), scrubPII: optional(bool(3)) })),
  ),
  parameters: mapOf(4, Any),
  metadata: map(5),
  scrubPII: optional(bool(6)),
  temperature: optional(double(7)),
})
export type ConversationRequest = MessageOf<typeof ConversationRequest>

export const ConversationResponse = message(`${of}ConversationResponse`, {
  contextID: optional(string(1)),
  outputs: repeated(nested(2, message(`${of}ConversationResult`, { result: string(1), parameters: mapOf(2, Any) }))),
})

export const ConversationRequestAlpha2 = message(`${of}ConversationRequestAlpha2`, {
  name: string(1),
  contextId: optional(string(2)),
  inputs: repeated(
    nested(3, message(`${of}ConversationInputAlpha2`, { messages: repeated(nested(1, ConversationMessage)), scrubPii: optional(bool(2)) })),
  ),
  parameters: mapOf(4, Any),
  metadata: map(5),
  scrubPii: optional(bool(6)),
  temperature: optional(double(7)),
  tools: repeated(
    nested(
      8,
      message(`${of}ConversationTools`, {
        function: nested(
          1,
          message(`${of}ConversationToolsFunction`, {
            name: string(1),
            description: optional(string(2)),
            parameters: nested(3, Struct),
          }),
        ),
      }),
    ),
  ),
  toolChoice: optional(string(9)),
  responseFormat: nested(10, Struct),
  promptCacheRetention: nested(11, Duration),
})
export type ConversationRequestAlpha2 = MessageOf<typeof ConversationRequestAlpha2>

const Usage = message(`${of}ConversationResultAlpha2CompletionUsage`, {
  completionTokens: uint64(1),
  promptTokens: uint64(2),
  totalTokens: uint64(3),
  completionTokensDetails: nested(
    4,
    message(`${of}ConversationResultAlpha2CompletionUsageCompletionTokensDetails`, {
      acceptedPredictionTokens: uint64(1),
      audioTokens: uint64(2),
      reasoningTokens: uint64(3),
      rejectedPredictionTokens: uint64(4),
    }),
  ),
  promptTokensDetails: nested(
    5,
    message(`${of}ConversationResultAlpha2CompletionUsagePromptTokensDetails`, { audioTokens: uint64(1), cachedTokens: uint64(2) }),
  ),
})

export const ConversationResponseAlpha2 = message(`${of}ConversationResponseAlpha2`, {
  contextId: optional(string(1)),
  outputs: repeated(
    nested(
      2,
      message(`${of}ConversationResultAlpha2`, {
        choices: repeated(
          nested(
            1,
            message(`${of}ConversationResultChoices`, {
              finishReason: string(1),
              index: int64(2),
              message: nested(
                3,
                message(`${of}ConversationResultMessage`, { content: string(1), toolCalls: repeated(nested(2, ToolCalls)) }),
              ),
            }),
          ),
        ),
        model: optional(string(2)),
        usage: nested(3, Usage),
      }),
    ),
  ),
})
