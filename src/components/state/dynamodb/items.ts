import { randomBytes } from 'node:crypto'
import type { StateDelete, StateItem, StateOperation, StateSet } from '../../../blocks/state/driver.ts'
import { readTtl, rfc3339 } from '../ttl.ts'
import type { DynamoSettings } from './settings.ts'

/** A value as DynamoDB's JSON has it: text, bytes in Base64, number. */
export type Attribute = { S: string } | { B: string } | { N: string }
export type Item = Record<string, Attribute>

/** Put and Delete, alone and in a transaction. */
export interface Write {
  TableName: string
  Item?: Item
  Key?: Item
  ConditionExpression?: string
  ExpressionAttributeNames?: Record<string, string>
  ExpressionAttributeValues?: Item
}

/** Items as daprd lays them out: `value` (bytes as binary, JSON as text), `etag`, and the TTL attribute in seconds of the epoch. */
export function itemsOf(settings: DynamoSettings) {
  const { table, ttl, partitionKey } = settings
  const keyOf = (key: string): Item => ({ [partitionKey]: { S: key } })

  /** DynamoDB deletes what has expired within days: until then it is passed over. */
  const read = (item: Item | undefined): StateItem | undefined => {
    if (!item || Object.keys(item).length === 0) return undefined
    const expires = ttl === undefined ? undefined : numberOf(item[ttl])
    if (expires !== undefined && expires <= Date.now() / 1000) return undefined
    const etag = item.etag && 'S' in item.etag ? item.etag.S : undefined
    return {
      data: bytesOf(item.value),
      etag,
      ...(expires !== undefined && { metadata: { ttlExpireTime: rfc3339(expires * 1000) } }),
    }
  }

  const put = (operation: StateSet): Write => {
    const seconds = ttl === undefined ? undefined : readTtl(operation.metadata, 'dynamodb error: failed to parse ttlInSeconds: ')
    const expires = seconds === undefined || seconds <= 0 ? undefined : Math.floor(Date.now() / 1000) + seconds
    const { value, json } = operation
    return {
      TableName: table,
      Item: {
        ...keyOf(operation.key),
        value: json ? { S: value.toString() } : { B: value.toString('base64') },
        etag: { S: BigInt(`0x${randomBytes(8).toString('hex')}`).toString(16) },
        ...(ttl !== undefined && expires !== undefined && { [ttl]: { N: String(expires) } }),
      },
      ...conditionOf(operation, ttl),
    }
  }

  const remove = (operation: StateDelete): Write => ({
    TableName: table,
    Key: keyOf(operation.key),
    ...conditionOf({ ...operation, concurrency: undefined }, ttl),
  })

  return { keyOf, read, put, remove }
}

function conditionOf({ etag, concurrency }: Pick<StateOperation, 'etag' | 'concurrency'>, ttl: string | undefined): Partial<Write> {
  if (etag === undefined && concurrency !== 'first-write') return {}
  const values: Item = etag === undefined ? {} : { ':etag': { S: etag } }
  const plain = etag === undefined ? 'attribute_not_exists(etag)' : 'etag = :etag'
  if (ttl === undefined) return { ConditionExpression: plain, ...(etag !== undefined && { ExpressionAttributeValues: values }) }
  const now = { ':now': { N: String(Math.floor(Date.now() / 1000)) } }
  return {
    // What has expired is not there any more.
    ConditionExpression: etag === undefined ? `${plain} OR #ttl <= :now` : `${plain} AND (attribute_not_exists(#ttl) OR #ttl > :now)`,
    ExpressionAttributeNames: { '#ttl': ttl },
    ExpressionAttributeValues: { ...values, ...now },
  }
}

function bytesOf(value: Attribute | undefined): Buffer {
  if (value && 'B' in value) return Buffer.from(value.B, 'base64')
  if (value && 'S' in value) return Buffer.from(value.S)
  if (value === undefined) return Buffer.alloc(0)
  throw new Error(`dynamodb error: the item's value is neither text nor binary but ${Object.keys(value).join()}`)
}

function numberOf(value: Attribute | undefined): number | undefined {
  return value && 'N' in value ? Number(value.N) : undefined
}
