import type { PubSub } from './driver.ts'

/** What sets one broker apart from another in the conformance suite. */
export interface ConformanceOptions {
  /** A new, initialised component; components of one test share a broker when the driver has one. The test disposes it. */
  open(settings: { appId: string; properties?: Record<string, string> }): Promise<PubSub>
  /** Why there is no server to ask, if there is none: every case skips by name. */
  missing?: string | false
  /** Messages that nobody handled are still there for the next instance. */
  durable: boolean
  /** Instances with the same app id share messages, others get their own. Otherwise every subscription gets all. */
  groups: boolean
  /** The content type reaches the handler beside the data. */
  contentType: boolean
  /** The metadata that arrives with a message, for brokers that do not carry all that was sent. Default: what was sent. */
  metadata?(sent: Readonly<Record<string, string>>, topic: string): Record<string, string>
  /** Messages that the broker gives out before one is settled, over all topics, where it has a limit. */
  underWay?: number
  /** Metadata that the broker adds to what was published; its names are not compared. */
  adds?: RegExp | undefined
  /** Where the order is kept, a whole batch may be under way all the same: the driver gives it in one turn, in its order. */
  batchesInOrder?: boolean
  /** Cases at a time, for a server that takes its time over each request. Default 1. */
  concurrency?: number
  /** Makes a topic whose messages several members of a group can share, where a new one cannot. */
  prepareShared?: ((topic: string) => Promise<void>) | undefined
}
