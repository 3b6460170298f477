import type { BulkEntry } from './driver.ts'
import type { BulkPublishResult } from './publish.ts'

/** An event as the broker gets it. */
export interface LineEvent {
  topic: string
  data: Buffer
  contentType: string | undefined
  metadata: Readonly<Record<string, string>>
}

export interface LineBulk {
  topic: string
  entries: readonly BulkEntry[]
  metadata: Readonly<Record<string, string>>
}

/** What stands between publishing and the broker of one pub/sub, when a resource asks for it. */
export interface PublishLine {
  /** Settings of the component while it waits for its server, names lower-cased; undefined: it does not. */
  awaited(): Readonly<Record<string, string>> | undefined
  /** Resolves when the event is accepted. `direct` asks the broker; undefined: there is none yet. */
  publish(event: LineEvent, direct: ((signal: AbortSignal) => Promise<void>) | undefined, signal?: AbortSignal): Promise<void>
  bulkPublish(
    request: LineBulk,
    direct: ((entries: readonly BulkEntry[], signal: AbortSignal) => Promise<BulkPublishResult>) | undefined,
    signal?: AbortSignal,
  ): Promise<BulkPublishResult>
}
