import type { KeysPage } from '../../../blocks/state/keys.ts'
import type { EtcdClient } from '../../etcd/client.ts'
import { Sort, SortTarget } from '../../etcd/messages.ts'
import { likeMatcher } from '../like.ts'

/** Keys of one request. */
const BATCH = 1000

/**
 * Keys by LIKE, in their order, as of the revision at which the first page was read: pages neither lose nor repeat a key while
 * others write. When etcd has compacted that revision away, the list goes on with what is there now.
 * (daprd goes by the revision that made a key, and loses keys that one transaction made.)
 */
export async function listKeys(
  client: EtcdClient,
  base: string,
  pattern: string,
  page: { size?: number; token?: string },
  signal: AbortSignal | undefined,
): Promise<KeysPage> {
  const matches = likeMatcher(pattern)
  const prefix = Buffer.from(base + literalPrefix(pattern))
  const rangeEnd = after(prefix)
  const want = page.size && page.size > 0 ? page.size : Number.POSITIVE_INFINITY
  let { revision, from } = readToken(page.token, prefix)
  const keys: string[] = []
  for (;;) {
    const request = { key: from, rangeEnd, limit: BATCH, sortOrder: Sort.ascend, sortTarget: SortTarget.key, keysOnly: true }
    const answer = await client.range({ ...request, revision }, signal).catch((error: Error) => {
      if (revision === 0 || !/compacted/.test(error.message)) throw error
      revision = 0
      return client.range(request, signal)
    })
    if (revision === 0) revision = answer.header?.revision ?? 0
    for (const { key: stored } of answer.kvs) {
      const key = stored.toString().slice(base.length)
      if (!matches(key)) continue
      if (keys.length >= want) return { keys, token: `${revision}:${Buffer.from(base + (keys.at(-1) as string)).toString('base64url')}` }
      keys.push(key)
    }
    const last = answer.kvs.at(-1)
    if (!answer.more || !last) return { keys }
    from = Buffer.concat([last.key, Buffer.from([0])])
  }
}

function readToken(token: string | undefined, prefix: Buffer): { revision: number; from: Buffer } {
  if (!token) return { revision: 0, from: prefix }
  const parts = /^(\d{1,15}):([\w-]+)$/.exec(token)
  if (!parts) throw new Error(`invalid continue token ${JSON.stringify(token)}`)
  return { revision: Number(parts[1]), from: Buffer.concat([Buffer.from(parts[2] as string, 'base64url'), Buffer.from([0])]) }
}

/** What every match begins with. */
function literalPrefix(pattern: string): string {
  let prefix = ''
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] as string
    if (char === '%' || char === '_') break
    prefix += char === '\\' && at + 1 < pattern.length ? (pattern[++at] as string) : char
  }
  return prefix
}

/** The first key after all that begin with the prefix; a zero byte stands for the end of all keys. */
function after(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix)
  for (let at = end.length - 1; at >= 0; at--) {
    const byte = end[at] as number
    if (byte < 0xff) {
      end[at] = byte + 1
      return end.subarray(0, at + 1)
    }
  }
  return Buffer.from([0])
}
