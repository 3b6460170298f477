import { constants, deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { packBlock, unpackBlock } from '../kafka/lz4.ts'
import { snappyDecompress } from '../kafka/snappy.ts'

/** By CompressionType's number; ours to write are all but the last. */
const COMPRESSIONS = ['none', 'lz4', 'zlib', 'zstd', 'snappy'] as const
export type Compression = 'none' | 'lz4' | 'zlib' | 'zstd'

/** CompressionType's number. */
export function numberOf(compression: Compression): number {
  return COMPRESSIONS.indexOf(compression)
}

/** Level of a compression by Dapr's word: `faster`, `better`; undefined: the default. */
export function levelOf(compression: Compression, word: string): number | undefined {
  if (word === 'default' || compression === 'none' || compression === 'lz4') return undefined
  const [faster, better] = compression === 'zlib' ? [1, 9] : [1, 9]
  return word === 'faster' ? faster : better
}

export function compress(compression: Compression, plain: Buffer, level: number | undefined): Buffer {
  if (compression === 'lz4') return packBlock(plain)
  if (compression === 'zlib') return deflateSync(plain, level === undefined ? {} : { level })
  if (compression === 'zstd')
    return zstdCompressSync(plain, level === undefined ? {} : { params: { [constants.ZSTD_c_compressionLevel]: level } })
  return plain
}

/** `size`: of the plain payload as its metadata has it. Throws on damaged data and above `most` bytes. */
export function decompress(number: number, packed: Buffer, size: number, most: number): Buffer {
  if (number === 0) return packed
  if (size > most) throw new Error(`its payload of ${size} bytes is larger than ${most}`)
  switch (COMPRESSIONS[number]) {
    case 'lz4': {
      const plain = Buffer.allocUnsafe(size)
      return plain.subarray(0, unpackBlock(packed, plain, 0))
    }
    case 'zlib':
      return inflateSync(packed, { maxOutputLength: most })
    case 'zstd':
      return zstdDecompressSync(packed, { maxOutputLength: most })
    case 'snappy':
      return snappyDecompress(packed, most)
    default:
      throw new Error(`its compression ${number} is not known`)
  }
}
