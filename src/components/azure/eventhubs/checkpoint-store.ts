import { allIn, parseXml, textIn, within, type XmlElement } from '../../aws/xml.ts'
import { type StorageClient, StorageError } from '../storage-client.ts'

/** Who reads: one consumer group of one event hub. */
export interface Consumers {
  /** The namespace's full name, with the port where the address has one, as Azure's SDK for Go writes it. */
  namespace: string
  hub: string
  group: string
}

/** Who has a partition, or had it. */
export interface Ownership {
  partition: string
  /** `''`: given back. */
  owner: string
  /** Without quotes; absent: nobody has ever had it. */
  etag: string | undefined
  /** By the clock of the storage, milliseconds since 1970. */
  modified: number
}

/** The last event of a partition that counts as handled. */
export interface Checkpoint {
  partition: string
  /** -1, like the offset: before the first. */
  sequence: number
  /** Absent where others wrote only the sequence number. */
  offset: string | undefined
}

/** Somebody else was faster. */
const TAKEN = new Set(['ConditionNotMet', 'BlobAlreadyExists', 'BlobNotFound'])

/**
 * Ownerships and checkpoints as blobs without content, where and how Azure's SDK for Go keeps them, and with it daprd:
 * `<namespace>/<hub>/<group>/ownership/<partition>` with metadata `ownerid`, `…/checkpoint/<partition>` with `sequencenumber`
 * and `offset`. Names are as given; the SDKs of other languages make them lower case.
 */
export class CheckpointStore {
  readonly #client: StorageClient
  readonly #prefix: string

  constructor(client: StorageClient, { namespace, hub, group }: Consumers) {
    this.#client = client
    this.#prefix = `${namespace}/${hub}/${group}`
  }

  /** `now` is the time of the storage's own clock, milliseconds since 1970. */
  async ownerships(signal: AbortSignal): Promise<{ now: number; ownerships: Ownership[] }> {
    let now = Date.now()
    const ownerships: Ownership[] = []
    for await (const { blobs, date } of this.#list('ownership', signal)) {
      now = date
      for (const blob of blobs) {
        const owner = metadataOf(blob).ownerid ?? ''
        const etag = unquoted(textIn(blob, 'Properties', 'Etag') ?? '')
        const modified = Date.parse(textIn(blob, 'Properties', 'Last-Modified') ?? '')
        ownerships.push({ partition: partitionOf(blob), owner, etag, modified })
      }
    }
    return { now, ownerships }
  }

  /** Writes who has it unless it was written since it was read; undefined: somebody else was faster. */
  async claim({ partition, owner, etag }: Ownership, signal: AbortSignal): Promise<Ownership | undefined> {
    const blob = `${this.#prefix}/ownership/${partition}`
    const headers = { 'x-ms-meta-ownerid': owner }
    const sent = etag === undefined ? this.#make(blob, headers, signal) : this.#mark(blob, { ...headers, 'if-match': `"${etag}"` }, signal)
    try {
      const reply = await sent
      return { partition, owner, etag: unquoted(String(reply.headers.etag)), modified: Date.parse(String(reply.headers['last-modified'])) }
    } catch (error) {
      if (error instanceof StorageError && TAKEN.has(error.code)) return undefined
      throw error
    }
  }

  async checkpoints(signal: AbortSignal): Promise<Map<string, Checkpoint>> {
    const found = new Map<string, Checkpoint>()
    for await (const { blobs } of this.#list('checkpoint', signal)) {
      for (const blob of blobs) {
        const { sequencenumber, offset } = metadataOf(blob)
        const sequence = Number(sequencenumber || Number.NaN)
        if (!Number.isSafeInteger(sequence))
          throw new Error(`the checkpoint ${textIn(blob, 'Name')} cannot be read: its sequencenumber is ${sequencenumber ?? 'missing'}`)
        const partition = partitionOf(blob)
        found.set(partition, { partition, sequence, offset: offset || undefined })
      }
    }
    return found
  }

  async save(checkpoint: Checkpoint, signal: AbortSignal): Promise<void> {
    const [blob, headers] = this.#saved(checkpoint)
    try {
      await this.#mark(blob, headers, signal)
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'BlobNotFound') throw error
      await this.#client.send({ method: 'PUT', blob, headers: { ...headers, 'x-ms-blob-type': 'BlockBlob' } }, signal)
    }
  }

  /** A first checkpoint, unless there is one; gives whether there was none. */
  async begin(checkpoint: Checkpoint, signal: AbortSignal): Promise<boolean> {
    const [blob, headers] = this.#saved(checkpoint)
    try {
      await this.#make(blob, headers, signal)
      return true
    } catch (error) {
      if (error instanceof StorageError && TAKEN.has(error.code)) return false
      throw error
    }
  }

  #saved({ partition, sequence, offset }: Checkpoint): [blob: string, headers: Record<string, string>] {
    const headers: Record<string, string> = { 'x-ms-meta-sequencenumber': String(sequence) }
    if (offset !== undefined) headers['x-ms-meta-offset'] = offset
    return [`${this.#prefix}/checkpoint/${partition}`, headers]
  }

  #make(blob: string, headers: Record<string, string>, signal: AbortSignal) {
    return this.#client.send({ method: 'PUT', blob, headers: { ...headers, 'x-ms-blob-type': 'BlockBlob', 'if-none-match': '*' } }, signal)
  }

  #mark(blob: string, headers: Record<string, string>, signal: AbortSignal) {
    return this.#client.send({ method: 'PUT', blob, query: [['comp', 'metadata']], headers }, signal)
  }

  async *#list(kind: 'ownership' | 'checkpoint', signal: AbortSignal): AsyncGenerator<{ blobs: XmlElement[]; date: number }> {
    let marker = ''
    do {
      const query: [string, string][] = [
        ['restype', 'container'],
        ['comp', 'list'],
        ['prefix', `${this.#prefix}/${kind}/`],
        ['include', 'metadata'],
      ]
      if (marker !== '') query.push(['marker', marker])
      const { body, headers } = await this.#client.send({ method: 'GET', query }, signal)
      const reply = parseXml(body.toString())
      marker = textIn(reply, 'NextMarker') ?? ''
      const date = Date.parse(String(headers.date))
      yield { blobs: allIn(within(reply, 'Blobs'), 'Blob'), date: Number.isNaN(date) ? Date.now() : date }
    } while (marker !== '')
  }
}

/** A list writes them without, a header with quotes. */
function unquoted(etag: string): string {
  return etag.replaceAll('"', '')
}

function partitionOf(blob: XmlElement): string {
  const name = textIn(blob, 'Name') ?? ''
  return name.slice(name.lastIndexOf('/') + 1)
}

/** Names in lower case, whoever wrote them. */
function metadataOf(blob: XmlElement): Record<string, string> {
  return Object.fromEntries((within(blob, 'Metadata')?.children ?? []).map(({ name, text }) => [name.toLowerCase(), text]))
}
