import type { ConversationComponent } from '../../blocks/conversation/driver.ts'
import type { DriverModule } from '../component.ts'

export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<ConversationComponent>>
}

export const conversationDrivers: DriverRow[] = [
  { type: 'conversation.echo', versions: ['v1'], load: async () => (await import('./echo/driver.ts')).driver },
]
