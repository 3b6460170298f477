import { HUFFMAN_LENGTHS } from './hpack-tables.ts'

/** A header block that cannot be read: the connection is lost, for its tables are. */
export class HpackError extends Error {
  override readonly name = 'HpackError'
}

/** The Huffman code as a binary tree: two entries a node, the next node or, negative, a byte; 0: no such code. */
const TREE = huffmanTree()
const END = 256

function huffmanTree(): Int16Array {
  const tree = new Int16Array(1024)
  let next = 1
  let code = 0
  let bits = 0
  const symbols = HUFFMAN_LENGTHS.map((length, symbol) => ({ length, symbol })).sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  for (const { length, symbol } of symbols) {
    code *= 2 ** (length - bits)
    bits = length
    let node = 0
    for (let bit = length - 1; bit >= 0; bit--) {
      const at = node * 2 + ((code >>> bit) & 1)
      if (bit === 0) tree[at] = -symbol - 1
      else {
        if (tree[at] === 0) tree[at] = next++
        node = tree[at] as number
      }
    }
    code++
  }
  return tree
}

/** The text that stands in these bytes; throws HpackError. https://www.rfc-editor.org/rfc/rfc7541#appendix-B */
export function huffman(bytes: Buffer, start: number, end: number): string {
  // The shortest codes have five bits.
  const out = Buffer.allocUnsafe(Math.ceil(((end - start) * 8) / 5))
  let length = 0
  let node = 0
  let pending = 0
  let ones = true
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    for (let bit = 7; bit >= 0; bit--) {
      const one = (byte >> bit) & 1
      const step = TREE[node * 2 + one] as number
      if (step > 0) {
        node = step
        pending++
        if (one === 0) ones = false
      } else {
        const symbol = -step - 1
        if (step === 0 || symbol === END) throw new HpackError('no such Huffman code')
        out[length++] = symbol
        node = 0
        pending = 0
        ones = true
      }
    }
  }
  // What is left over is padding: the first bits of the longest code, all ones.
  if (pending > 7 || !ones) throw new HpackError('wrong Huffman padding')
  return out.toString('latin1', 0, length)
}
