import { pause } from '../../waiting.ts'
import type { EventApp } from './event-app.ts'

/** What asking the app for its subscriptions takes: three more attempts, half a second to a second apart. */
const ASK = { retries: 3, first: 500, most: 1000 }

/** What the app subscribes to by itself, as `EventApp.subscriptions`, tried some more times. Rejects with the last error. */
export async function askApp(app: EventApp, signal: AbortSignal): Promise<unknown> {
  for (let attempt = 0, wait = ASK.first; ; attempt++, wait = Math.min(wait * 1.5, ASK.most)) {
    try {
      return await app.subscriptions(signal)
    } catch (error) {
      if (attempt >= ASK.retries || error instanceof SyntaxError) throw error
      await pause(wait, signal)
      signal.throwIfAborted()
    }
  }
}
