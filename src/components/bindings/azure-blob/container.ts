import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseXml, textIn, within, type XmlElement } from '../../aws/xml.ts'
import { openContainer, pingContainer } from '../../azure/blob-container.ts'
import type { BlobSettings } from '../../azure/blob-settings.ts'
import { StorageClient, StorageError } from '../../azure/storage-client.ts'
import { readableBy } from '../../azure/storage-key.ts'
import { parseDuration } from '../../metadata.ts'
import { partsOf, type Source } from '../parts.ts'

/** Parts of one blob on their way at once. */
const PARALLEL = 4
export const DELETE_SNAPSHOTS = ['include', 'only']

/** The blobs of a container. */
export class Container implements AsyncDisposable {
  readonly #client: StorageClient
  readonly #settings: BlobSettings

  constructor(settings: BlobSettings) {
    this.#settings = settings
    this.#client = new StorageClient(settings)
  }

  open(signal: AbortSignal): Promise<void> {
    return openContainer(this.#client, this.#settings, signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return pingContainer(this.#client, this.#settings, signal)
  }

  /** As daprd writes it: slashes of the name escaped. */
  urlOf(name: string): string {
    const escaped = encodeURIComponent(name)
      .replaceAll(/%(24|26|2B|3D|3A|40)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
      .replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
    return `${this.#settings.place.href}/${escaped}`
  }

  /** Saves a blob, one larger than a part in parts; rejects leaving nothing of it. */
  async put(name: string, source: Source, base64: boolean, headers: Record<string, string>, signal?: AbortSignal): Promise<void> {
    const parts = partsOf(source, base64)
    const [first, second] = [await parts.next(), await parts.next()]
    if (second.done) {
      await this.#client.send({ method: 'PUT', blob: name, headers, body: first.value ?? Buffer.alloc(0) }, signal)
      return
    }
    const ids: string[] = []
    const sending = new Set<Promise<unknown>>()
    const send = async (body: Buffer) => {
      const id = Buffer.from(String(ids.length).padStart(8, '0')).toString('base64')
      ids.push(id)
      const query = [
        ['comp', 'block'],
        ['blockid', id],
      ] as const
      const sent = this.#client.send({ method: 'PUT', blob: name, query, body }, signal).finally(() => sending.delete(sent))
      sending.add(sent)
      if (sending.size >= PARALLEL) await Promise.race(sending)
    }
    try {
      for (const part of [first, second]) if (!part.done) await send(part.value)
      for await (const part of parts) await send(part)
      await Promise.all(sending)
    } catch (error) {
      await Promise.allSettled(sending)
      throw error
    }
    const list = `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((id) => `<Latest>${id}</Latest>`).join('')}</BlockList>`
    const { 'x-ms-blob-type': _, ...kept } = headers
    await this.#client.send({ method: 'PUT', blob: name, query: [['comp', 'blocklist']], headers: kept, body: Buffer.from(list) }, signal)
  }

  /** The bytes of a blob and its metadata. */
  async get(name: string, signal?: AbortSignal): Promise<{ data: Buffer; metadata: Record<string, string> }> {
    const { body, headers } = await this.#client.send({ method: 'GET', blob: name }, signal).catch(notFound)
    const metadata = Object.entries(headers)
      .filter(([header]) => header.startsWith('x-ms-meta-'))
      .map(([header, value]) => [header.slice('x-ms-meta-'.length), String(value)])
    return { data: body, metadata: Object.fromEntries(metadata) as Record<string, string> }
  }

  async save(name: string, file: string, signal?: AbortSignal): Promise<void> {
    const { data } = await this.get(name, signal)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, data)
  }

  /** `snapshots`: one of DELETE_SNAPSHOTS, or nothing. */
  async delete(name: string, snapshots: string, signal?: AbortSignal): Promise<void> {
    const headers: Record<string, string> = snapshots === '' ? {} : { 'x-ms-delete-snapshots': snapshots }
    await this.#client.send({ method: 'DELETE', blob: name, headers }, signal).catch(notFound)
  }

  /** A page of blobs, and what names the next. */
  async page(
    query: readonly (readonly [string, string])[],
    marker: string,
    signal?: AbortSignal,
  ): Promise<{ blobs: XmlElement[]; next: string }> {
    const more = marker === '' ? [] : [['marker', marker] as const]
    const asked = [['restype', 'container'], ['comp', 'list'], ...query, ...more] as const
    const root = parseXml((await this.#client.send({ method: 'GET', query: asked }, signal)).body.toString())
    return {
      blobs: within(root, 'Blobs')?.children.filter((child) => child.name === 'Blob') ?? [],
      next: textIn(root, 'NextMarker') ?? '',
    }
  }

  /** Names that start with a prefix. */
  async names(prefix: string, signal?: AbortSignal): Promise<string[]> {
    const found: string[] = []
    let marker = ''
    do {
      const { blobs, next } = await this.page([['prefix', prefix]], marker, signal)
      found.push(...blobs.map((blob) => textIn(blob, 'Name') ?? ''))
      marker = next
    } while (marker !== '')
    return found
  }

  /** A URL by which anyone can read a blob for a while. */
  presigned(name: string, ttl: string): string {
    const fail = (why: string) => new Error(`error generating SAS URL: ${why}`)
    const duration = /^\s*[-+\d.]+\s*$/.test(ttl) ? undefined : parseDuration(ttl)
    if (duration === undefined) throw fail(`cannot parse signTTL duration "${ttl}": write it as 15m`)
    if (duration <= 0) throw fail(`signTTL must be a positive duration, got "${ttl}"`)
    const { key, name: container } = this.#settings
    if (!key) throw fail("it takes the account's key: give accountKey, or a connectionString with a key")
    return `${this.urlOf(name)}?${readableBy({ container, name }, new Date(Date.now() + duration), key)}`
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}

function notFound(error: unknown): never {
  throw error instanceof StorageError && error.code === 'BlobNotFound' ? new Error('blob not found', { cause: error }) : error
}
