import type { ConversationComponent } from '../../blocks/conversation/driver.ts'
import type { DriverModule } from '../component.ts'

export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<ConversationComponent>>
}

export const conversationDrivers: DriverRow[] = [
  { type: 'conversation.deepseek', versions: ['v1'], load: async () => (await import('./openai/flavours.ts')).deepseek },
  { type: 'conversation.echo', versions: ['v1'], load: async () => (await import('./echo/driver.ts')).driver },
  { type: 'conversation.huggingface', versions: ['v1'], load: async () => (await import('./openai/flavours.ts')).huggingface },
  { type: 'conversation.mistral', versions: ['v1'], load: async () => (await import('./openai/flavours.ts')).mistral },
  { type: 'conversation.ollama', versions: ['v1'], load: async () => (await import('./openai/flavours.ts')).ollama },
  { type: 'conversation.openai', versions: ['v1'], load: async () => (await import('./openai/flavours.ts')).openai },
]
