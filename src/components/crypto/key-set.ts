import { readFile, stat } from 'node:fs/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { fromJwk, type Jwk, type LoadedKey } from './key.ts'

/** Larger sets are refused. */
const SIZE_LIMIT = 1024 * 1024

export interface KeySetOptions {
  /** The set itself (JSON, or Base64 of it), an http(s) URL, or the path of a file. */
  location: string
  /** Milliseconds for one fetch. */
  requestTimeout: number
  /** Milliseconds between two fetches at least. */
  minRefreshInterval: number
  /** PEM of what an https URL's certificate has to lead to. Default: the machine's authorities. */
  ca?: string | undefined
  /** A fetch or file that failed while an older set is in use. */
  onError(error: Error): void
}

/** The keys of a JWKS by their `kid`, kept fresh: a file is read again when it has changed, a URL as its interval allows. */
export interface KeySet extends AsyncDisposable {
  load(signal?: AbortSignal): Promise<void>
  /** Rejects when there is no such key. */
  find(kid: string): Promise<LoadedKey>
}

export function createKeySet(options: KeySetOptions): KeySet {
  const { location } = options
  let keys: ReadonlyMap<string, LoadedKey> = new Map()
  let source: Source | undefined
  /** One refresh at a time; those who come meanwhile wait for it. */
  let refreshing: Promise<void> | undefined

  const refresh = (signal?: AbortSignal): Promise<void> => {
    refreshing ??= (async () => {
      source ??= await sourceOf(options)
      keys = parseKeySet(await source.read(signal))
    })().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }
  const refreshQuietly = () =>
    refresh().catch((error: unknown) => options.onError(error instanceof Error ? error : new Error(String(error))))

  return {
    async load(signal) {
      if (location === '') throw new Error('metadata field jwks is empty')
      await refresh(signal)
    },
    async find(kid) {
      const due = await source?.due()
      if (due === 'now' || (due && !keys.has(kid))) await refreshQuietly()
      else if (due) void refreshQuietly()
      const key = keys.get(kid)
      if (!key) throw new Error('key not found')
      return key
    },
    async [Symbol.asyncDispose]() {
      await source?.close()
    },
  }
}

interface Source {
  read(signal: AbortSignal | undefined): Promise<Buffer>
  /** Whether reading again may bring something: `now` is cheap enough to wait for, `later` may go on behind a known key. */
  due(): Promise<'now' | 'later' | undefined>
  close(): Promise<void>
}

async function sourceOf(options: KeySetOptions): Promise<Source> {
  if (/^https?:\/\//.test(options.location)) return urlSource(options)
  const info = await stat(options.location).catch(() => undefined)
  return info?.isFile() ? fileSource(options.location) : givenSource(options.location)
}

function givenSource(location: string): Source {
  const text = location.trim()
  const given = /^[A-Za-z0-9+/\r\n]+=*$/.test(text) ? Buffer.from(text, 'base64') : Buffer.from(text)
  return { read: async () => given, due: async () => undefined, close: async () => {} }
}

function fileSource(path: string): Source {
  const stampOf = async () => {
    const { mtimeMs, size, ino } = await stat(path)
    return `${mtimeMs}/${size}/${ino}`
  }
  let stamp: string | undefined
  return {
    async read() {
      const { size } = await stat(path)
      if (size > SIZE_LIMIT) throw new Error(`the JWKS file ${path} is too large`)
      stamp = await stampOf()
      return readFile(path)
    },
    due: async () => ((await stampOf().catch(() => stamp)) === stamp ? undefined : 'now'),
    close: async () => {},
  }
}

function urlSource({ location, requestTimeout, minRefreshInterval, ca }: KeySetOptions): Source {
  const client = new HttpClient({ connections: 1, redirections: 10, ...(ca !== undefined && { tls: { ca } }) })
  const url = new URL(location)
  let readAt = Number.NEGATIVE_INFINITY
  return {
    async read(signal) {
      readAt = performance.now()
      const patience = AbortSignal.timeout(requestTimeout)
      try {
        const { status, body } = await client.request({
          url,
          method: 'GET',
          signal: signal ? AbortSignal.any([signal, patience]) : patience,
          limit: SIZE_LIMIT,
          tooLarge: () => new Error('the JWKS is too large'),
        })
        if (status !== 200) throw new Error(`${url.origin} answered ${status}`)
        return body
      } catch (error) {
        throw new Error(`failed to fetch JWKS: ${messageOf(error)}`, { cause: error })
      }
    },
    due: async () => (performance.now() - readAt >= minRefreshInterval ? 'later' : undefined),
    close: () => client[Symbol.asyncDispose](),
  }
}

/** Keys without `kid`, or of kinds that are not known here, are left out; a set of one key may be the bare key. */
export function parseKeySet(content: Buffer): Map<string, LoadedKey> {
  let raw: unknown
  try {
    raw = JSON.parse(content.toString())
  } catch {
    throw new Error('the JWKS is not a URL, the path of a file, or JSON (Base64-encoded or not)')
  }
  const set = (raw ?? {}) as { keys?: unknown; kty?: unknown }
  const list: unknown = Array.isArray(set.keys) ? set.keys : typeof set.kty === 'string' ? [set] : undefined
  if (!Array.isArray(list)) throw new Error('the JWKS has no member "keys"')
  const keys = new Map<string, LoadedKey>()
  for (const jwk of list as Jwk[]) {
    if (typeof jwk?.kid !== 'string' || jwk.kid === '' || keys.has(jwk.kid)) continue
    try {
      keys.set(jwk.kid, fromJwk(jwk))
    } catch {
      // RFC 7517, section 5: keys that are not understood are ignored.
    }
  }
  return keys
}
