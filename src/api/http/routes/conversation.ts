import type { ConversationBlock } from '../../../blocks/conversation/block.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import type { MessageType } from '../../../transport/grpc/message.ts'
import { converseAlpha1, converseAlpha2 } from '../../grpc/conversation.ts'
import { fromJson, toJson } from '../../grpc/conversation-json.ts'
import {
  ConversationRequest,
  ConversationRequestAlpha2,
  ConversationResponse,
  ConversationResponseAlpha2,
} from '../../grpc/conversation-messages.ts'
import { type Call, json, type Route } from '../route.ts'

/** POST `/v1.0-alpha1` and `-alpha2/conversation/{name}/converse`: the messages of the gRPC API as JSON. */
export function conversationRoutes(block: ConversationBlock): Route[] {
  const row = { methods: ['POST'], group: 'conversation', name: 'Converse' }
  return [
    {
      ...row,
      version: 'v1alpha1',
      path: '/v1.0-alpha1/conversation/:name/converse',
      handler: async (call) => {
        const request = await read(ConversationRequest, call)
        return json(toJson(ConversationResponse, await converseAlpha1(block, request, call.signal)))
      },
    },
    {
      ...row,
      version: 'v1alpha2',
      path: '/v1.0-alpha2/conversation/:name/converse',
      handler: async (call) => {
        const request = await read(ConversationRequestAlpha2, call)
        return json(toJson(ConversationResponseAlpha2, await converseAlpha2(block, request, call.signal)))
      },
    },
  ]
}

/** The body as a message; the component is the path's. */
async function read<T>(type: MessageType<T, never>, call: Call): Promise<T> {
  const body = await call.body()
  try {
    const given = body.length === 0 ? {} : (JSON.parse(body.toString()) as unknown)
    return { ...fromJson(type, given), name: call.params.name as string }
  } catch (error) {
    throw new OutriderError({
      code: 'ERR_MALFORMED_REQUEST',
      http: 400,
      grpc: Code.InvalidArgument,
      message: `failed deserializing HTTP body: proto: ${messageOf(error)}`,
      hint: 'Send a JSON object with the fields of the conversation API.',
    })
  }
}
