import { type ComponentSet, explained } from '../../components/sets.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import type { ConversationComponent, ConversationRequest, ConversationResult } from './driver.ts'

export interface ConversationBlock {
  /** One result for each request. Throws OutriderError for an unknown component, no requests, or a failing model. */
  converse(component: string, requests: readonly ConversationRequest[], signal?: AbortSignal): Promise<ConversationResult[]>
}

/** Talks to language models by component name. */
export function createConversationBlock(components: ComponentSet<ConversationComponent>): ConversationBlock {
  return {
    async converse(name, requests, signal) {
      const found = components.get(name)
      if (!found) {
        const error = new OutriderError({
          code: 'ERR_CONVERSATION_NOT_FOUND',
          http: 400,
          grpc: Code.NotFound,
          message: `failed finding conversation component ${name}`,
          hint: `Add a component of a conversation.* type; loaded: ${[...components.keys()].join(', ') || 'none'}.`,
        })
        throw explained(error, components, name)
      }
      if (requests.length === 0) {
        throw new OutriderError({
          code: 'ERR_CONVERSATION_MISSING_INPUTS',
          http: 400,
          grpc: Code.InvalidArgument,
          message: `failed conversing with component ${name}: missing inputs in request`,
          hint: 'Send at least one input.',
        })
      }
      try {
        return await Promise.all(requests.map((request) => found.component.converse(request, signal)))
      } catch (error) {
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
