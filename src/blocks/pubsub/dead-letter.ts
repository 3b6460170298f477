import { randomUUID } from 'node:crypto'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { DeliveredMessage, PubSub } from './driver.ts'
import type { Runner } from './policy-hook.ts'
import { publishEntries } from './publish.ts'

/** How long the broker may take to accept dead letters, milliseconds. */
const LIMIT = 30_000

/** Where one subscription's undeliverable messages go: payload and metadata as they came. */
export interface DeadLetters {
  readonly topic: string
  /** Rejects when the broker does not take it. */
  send(message: DeliveredMessage): Promise<void>
  /** One outcome for each message, in order: undefined when it is taken. */
  sendAll(messages: readonly DeliveredMessage[]): Promise<(Error | undefined)[]>
}

/** `brokerTopic` is the topic as the broker knows it, `topic` as the subscription names it. */
export function deadLetters(component: PubSub, topic: string, brokerTopic: string, run: Runner, log: Logger): DeadLetters {
  const report = (error: unknown) => log.error(`error sending message to dead letter topic ${topic}: ${messageOf(error)}`)
  return {
    topic,
    async send(message) {
      try {
        await run(
          (signal) =>
            component.publish(
              { topic: brokerTopic, data: message.data, contentType: message.contentType, metadata: message.metadata },
              signal,
            ),
          AbortSignal.timeout(LIMIT),
        )
      } catch (error) {
        report(error)
        throw error
      }
    },
    async sendAll(messages) {
      const entries = messages.map((message) => ({
        entryId: randomUUID(),
        data: message.data,
        contentType: message.contentType ?? 'application/cloudevents+json',
        metadata: message.metadata,
      }))
      const { failedEntries } = await publishEntries(component, brokerTopic, entries, {}, run, AbortSignal.timeout(LIMIT))
      if (failedEntries.length > 0) report(failedEntries[0]?.error)
      const failed = new Map(failedEntries.map(({ entryId, error }) => [entryId, new Error(error)]))
      return entries.map(({ entryId }) => failed.get(entryId))
    },
  }
}
