import { Code, OutriderError } from '../../errors.ts'
import { JsonTextError, parseJson } from './go-json.ts'

/** A value that came as JSON, as it is handed to a store. */
export function valueFromJson(value: unknown): { value: Buffer; json: true } {
  return { value: Buffer.from(JSON.stringify(value ?? null)), json: true }
}

/** A value that came as bytes over gRPC: JSON when the item's metadata says `contentType: application/json`, else opaque. */
export function valueFromBytes(bytes: Uint8Array, metadata: Readonly<Record<string, string>>): { value: Buffer; json: boolean } {
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const type = Object.entries(metadata).find(([name]) => name.toLowerCase() === 'contenttype')?.[1]
  if (type?.toLowerCase() !== 'application/json') return { value, json: false }
  try {
    return valueFromJson(parseJson(value.toString(), true))
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error
    throw new OutriderError({
      code: 'ERROR',
      http: 500,
      grpc: Code.Unknown,
      message: error.message,
      hint: 'send JSON, or drop contentType from the metadata of the item',
      cause: error,
    })
  }
}
