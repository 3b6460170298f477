import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

export const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** The codec's number in a batch's attributes. */
export function codecOf(compression: Compression): number {
  return COMPRESSIONS.indexOf(compression)
}

export interface Codec {
  compress(input: Buffer): Buffer
  /** Throws when the result would have more than `most` bytes. */
  decompress(input: Buffer, most: number): Buffer
}

const loaded = new Map<number, Codec>([
  [1, { compress: (input) => gzipSync(input), decompress: (input, most) => gunzipSync(input, { maxOutputLength: most }) }],
  [4, { compress: (input) => zstdCompressSync(input), decompress: (input, most) => zstdDecompressSync(input, { maxOutputLength: most }) }],
])

/** The codec of a number, if it is already here. */
export function codec(number: number): Codec | undefined {
  return loaded.get(number)
}

/** Loads the codec of a number; rejects when there is none such. */
export async function loadCodec(number: number): Promise<Codec> {
  let found = loaded.get(number)
  if (found === undefined && number === 2) {
    const { snappyCompress, snappyDecompress } = await import('./snappy.ts')
    found = { compress: snappyCompress, decompress: snappyDecompress }
  } else if (found === undefined && number === 3) {
    const { lz4Compress, lz4Decompress } = await import('./lz4.ts')
    found = { compress: lz4Compress, decompress: lz4Decompress }
  }
  if (found === undefined) throw new Error(`compression ${number} of a record batch is not known`)
  loaded.set(number, found)
  return found
}
