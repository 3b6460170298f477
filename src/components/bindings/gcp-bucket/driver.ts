import { randomUUID } from 'node:crypto'
import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { parseDuration } from '../../metadata.ts'
import { operationsOf } from '../acts.ts'
import { partsOf } from '../parts.ts'
import { unquoted } from '../unquoted.ts'
import { attributesOf } from './attributes.ts'
import { BucketError, GoogleBucket } from './bucket.ts'
import { fields, merged, readBucketSettings } from './settings.ts'

/** Objects of a list, of all of them, objects read at once and bytes of them all. */
const MOST = 1000
const ALL = 100_000
const PARALLEL = 8
const BULK_LIMIT = 256 << 20

/** bindings.gcp.bucket: objects of one bucket. */
export const driver: DriverModule<Binding> = {
  summary: 'Reads and writes objects of a bucket in Google Cloud Storage.',
  metadata: fields,
  create(context) {
    const settings = readBucketSettings(context.properties)
    const bucket = new GoogleBucket(settings)
    const json = (value: unknown): BindingResponse => ({ data: Buffer.from(JSON.stringify(value)) })
    const fail = (what: string) => (error: unknown) => {
      throw new Error(`gcp bucket binding error${what}: ${messageOf(error)}`, { cause: error })
    }
    /** `while downloading object`, say; an object that is not there has words of its own. */
    const unless404 = (what: string) => (error: unknown) => {
      if (error instanceof BucketError && error.status === 404) throw new Error('object not found', { cause: error })
      return fail(what)(error)
    }

    const create = async ({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const { decodeBase64, contentType } = merged(settings, metadata)
      const key = keyIn(metadata) || randomUUID()
      const save = async () => {
        const content = Buffer.concat(await Array.fromAsync(partsOf({ data: unquoted(data) }, decodeBase64)))
        await bucket.put(key, content, contentType || guessed(content), signal)
      }
      await save().catch(fail(' while uploading'))
      return json({ objectURL: `https://storage.googleapis.com/${settings.bucket}/${encodeURI(key)}` })
    }

    const get = async ({ metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const data = await bucket.get(keyOf(metadata), signal).catch(unless404(' while downloading object'))
      return { data: merged(settings, metadata).encodeBase64 ? Buffer.from(data.toString('base64')) : data }
    }

    const list = async ({ data }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const { prefix = '', delimiter = '', maxResults = 0 } = data.length === 0 ? {} : payloadOf(data, '')
      if (typeof prefix !== 'string' || typeof delimiter !== 'string' || typeof maxResults !== 'number')
        throw new Error('gcp bucket binding error: prefix and delimiter are texts, maxResults is a number')
      const most = maxResults > 0 ? Math.floor(maxResults) : MOST
      const found = await bucket.list({ prefix, delimiter, most }, signal).catch(fail(' while listing'))
      return found.length === 0 ? { data: Buffer.from('null') } : json(found.map(attributesOf))
    }

    const sign = async ({ metadata }: BindingRequest): Promise<BindingResponse> => {
      const key = keyOf(metadata)
      const { signTTL } = merged(settings, metadata)
      if (signTTL === '') throw new Error("gcp bucket binding error: required metadata 'signTTL' missing")
      const duration = /^\s*[-+\d.]+\s*$/.test(signTTL) ? undefined : parseDuration(signTTL)
      if (duration === undefined || duration <= 0)
        throw new Error(`gcp bucket binding error: gcp bucket binding error while parsing signTTL: "${signTTL}"; write it as 15m`)
      try {
        return json({ signURL: bucket.signedUrl(key, Math.floor(duration / 1000)) })
      } catch (error) {
        return fail('')(error)
      }
    }

    const bulkGet = async ({ metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const { encodeBase64 } = merged(settings, metadata)
      const objects = await bucket.list({ prefix: '', delimiter: '', most: ALL }, signal).catch(fail(' while listing'))
      const results: { name: string; data: string; attrs: unknown }[] = []
      let [at, bytes] = [0, 0]
      const worker = async () => {
        for (let index = at++; index < objects.length; index = at++) {
          const object = objects[index] as (typeof objects)[number]
          const data = await bucket.get(object.name, signal).catch(fail(' while reading objects'))
          bytes += data.length
          if (bytes > BULK_LIMIT) throw new Error(`gcp bucket binding error while reading objects: they have more than ${BULK_LIMIT} bytes`)
          // In JSON bytes are Base64, whatever they are.
          const text = (encodeBase64 ? Buffer.from(data.toString('base64')) : data).toString('base64')
          results[index] = { name: object.name, data: text, attrs: attributesOf(object) }
        }
      }
      await Promise.all(Array.from({ length: Math.min(PARALLEL, objects.length) }, worker))
      return json(results)
    }

    /** Copies to where the payload says; as daprd, one of both is enough. */
    const transfer = async (verb: 'copy' | 'move', { data, metadata }: BindingRequest, signal?: AbortSignal) => {
      const key = keyOf(metadata)
      const { destinationBucket = '', destinationKey = '' } = payloadOf(data, `invalid ${verb} payload: `)
      if (typeof destinationBucket !== 'string' || typeof destinationKey !== 'string')
        throw new Error(`gcp bucket binding error: invalid ${verb} payload: destinationBucket and destinationKey are texts`)
      if (destinationBucket === '' && destinationKey === '')
        throw new Error('gcp bucket binding error: copy/move requires at least one of destinationBucket or destinationKey')
      const [to, name] = [destinationBucket || settings.bucket, destinationKey || key]
      const same = to === settings.bucket && name === key
      if (verb === 'move' && same)
        throw new Error(
          `gcp bucket binding error: move destination ${to}/${name} is the same as the source — move would delete the source object`,
        )
      await bucket.copy(key, to, name, signal).catch(fail(' while copying object'))
      if (verb === 'move') await bucket.delete(key, signal).catch(fail(' while deleting object'))
      return { data: Buffer.from(`object ${key} ${verb === 'move' ? 'moved' : 'copied'} to ${to}/${name}`) }
    }

    const rename = async ({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const key = keyOf(metadata)
      const { newName } = payloadOf(data, 'invalid rename payload: ')
      if (typeof newName !== 'string' || newName === '') throw new Error("gcp bucket binding error: required 'newName' missing")
      if (newName === key) throw new Error(`gcp bucket binding error: ${key} has that name already`)
      await bucket.copy(key, settings.bucket, newName, signal).catch(fail(' while copying object'))
      await bucket.delete(key, signal).catch(fail(' while deleting object'))
      return { data: Buffer.from(`object ${key} renamed to ${newName}`) }
    }

    const operations = operationsOf({
      create,
      get,
      async delete({ metadata }, signal) {
        await bucket.delete(keyOf(metadata), signal).catch(unless404(' while deleting object'))
        return undefined
      },
      list,
      sign,
      bulkGet,
      copy: (request, signal) => transfer('copy', request, signal),
      rename,
      move: (request, signal) => transfer('move', request, signal),
    })

    return {
      ...operations,
      init: (signal) => bucket.open(signal),
      ping: (signal) => bucket.ping(signal),
      [Symbol.asyncDispose]: () => bucket[Symbol.asyncDispose](),
    }
  },
}

/** `name` is what `key` was called once. */
function keyIn({ key = '', name }: Readonly<Record<string, string>>): string {
  return name || key
}

function keyOf(metadata: Readonly<Record<string, string>>): string {
  const key = keyIn(metadata)
  if (key === '') throw new Error("gcp bucket binding error: can't read key value")
  return key
}

function payloadOf(data: Buffer, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(data.toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
    throw new Error('it is no object')
  } catch (error) {
    throw new Error(`gcp bucket binding error: ${what}${messageOf(error)}`, { cause: error })
  }
}

/** By its first bytes, as far as text goes. */
function guessed(content: Buffer): string {
  return content.subarray(0, 512).some((byte) => byte < 9 || byte === 11 || (byte > 13 && byte < 27) || (byte > 27 && byte < 32))
    ? 'application/octet-stream'
    : 'text/plain; charset=utf-8'
}
