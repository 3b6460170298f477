import type { StateItem } from './driver.ts'

/** What comes with a write; names and words as the client gave them. */
export interface WriteOptions {
  key: string
  etag?: string | undefined
  concurrency?: string | undefined
  consistency?: string | undefined
  metadata: Readonly<Record<string, string>>
}
export interface SaveItem extends WriteOptions {
  value: Buffer
  json: boolean
  contentType?: string | undefined
}
export type DeleteItem = WriteOptions
export type TransactionItem = ({ operation: string } & SaveItem) | ({ operation: string } & DeleteItem)

export interface BulkGetItem {
  key: string
  item?: StateItem
  error?: string
}
