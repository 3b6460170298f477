import { messageOf } from '../../../errors.ts'
import { MetadataError } from '../../metadata.ts'
import type { RedisClient } from '../../redis/client.ts'

/** An index of the search module over the values of JSON documents. */
export interface QueryIndex {
  name: string
  /** Dotted paths inside the value, in the order of their names in the index: `var0`, `var1`, … as daprd names them. */
  keys: { key: string; type: string }[]
}

/** Reads the component's `queryIndexes`: `[{"name": "…", "indexes": [{"key": "a.b", "type": "TEXT"}]}]`. Throws MetadataError. */
export function readIndexes(text: string | undefined): ReadonlyMap<string, QueryIndex> {
  const found = new Map<string, QueryIndex>()
  if (!text) return found
  for (const given of list(parse(text), 'queryIndexes')) {
    const { name, indexes } = given
    if (typeof name !== 'string' || name === '') throw wrong('an index without name')
    if (found.has(name)) throw wrong(`two indexes are named ${name}`)
    const keys = list(indexes ?? [], `indexes of ${name}`).map(({ key, type }) => {
      if (typeof key !== 'string' || key === '') throw wrong(`empty key in index ${name}`)
      if (typeof type !== 'string' || type === '') throw wrong(`empty type of ${key} in index ${name}`)
      return { key, type }
    })
    found.set(name, { name, keys })
  }
  return found
}

/**
 * Makes the index unless it is there as described; one that differs is made anew, and the server fills it again.
 * Rejects with the server's word, e.g. where it has no search module.
 */
export async function createIndex(client: Pick<RedisClient, 'call'>, { name, keys }: QueryIndex): Promise<void> {
  const schema = keys.flatMap(({ key, type }, index) => [path(key), 'AS', alias(index), type, 'SORTABLE'])
  for (let attempt = 0; ; attempt++) {
    try {
      await client.call('FT.CREATE', name, 'ON', 'JSON', 'SCHEMA', ...schema)
      return
    } catch (error) {
      // A sidecar that starts beside this one may make it, too.
      if (!/already exists/i.test(messageOf(error)) || attempt === 3) throw error
      if (await isThere(client, { name, keys })) return
      await client.call('FT.DROPINDEX', name).catch(() => {})
    }
  }
}

/** The name of a key in its index. */
export function alias(index: number): string {
  return `var${index}`
}

async function isThere(client: Pick<RedisClient, 'call'>, { name, keys }: QueryIndex): Promise<boolean> {
  const info = pairs(await client.call('FT.INFO', name).catch(() => []))
  const definition = pairs(info.get('index_definition'))
  const attributes = info.get('attributes')
  if (definition.get('key_type') !== 'JSON' || String(definition.get('prefixes')) !== '' || !Array.isArray(attributes)) return false
  const held = attributes.map(pairs).map((one) => [one.get('identifier'), one.get('attribute'), one.get('type')].join(' '))
  return held.join() === keys.map(({ key, type }, index) => [path(key), alias(index), type].join(' ')).join()
}

function path(key: string): string {
  return `$.data.${key}`
}

function pairs(reply: unknown): Map<unknown, unknown> {
  const found = new Map<unknown, unknown>()
  if (Array.isArray(reply)) for (let at = 0; at + 1 < reply.length; at += 2) found.set(reply[at], reply[at + 1])
  return found
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw wrong(`not JSON (${messageOf(error)})`)
  }
}

function list(given: unknown, what: string): Record<string, unknown>[] {
  if (!Array.isArray(given) || given.some((one) => typeof one !== 'object' || one === null)) throw wrong(`${what} is not a list of objects`)
  return given as Record<string, unknown>[]
}

function wrong(what: string): MetadataError {
  return new MetadataError(`metadata field queryIndexes: ${what}; it is [{"name": "…", "indexes": [{"key": "a.b", "type": "TEXT"}]}]`)
}
