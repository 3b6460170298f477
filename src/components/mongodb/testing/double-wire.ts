import { BSON } from 'mongodb'
import type { Stored } from './documents.ts'

const OP_REPLY = 1
const OP_QUERY = 2004
const OP_MSG = 2013

const read = (bytes: Buffer, at: number): Stored =>
  BSON.deserialize(bytes.subarray(at, at + bytes.readInt32LE(at)), { promoteValues: false, promoteBuffers: false }) as Stored

/** The command in a message, its document sequences as members; official clients ask first by OP_QUERY. */
export function commandOf(bytes: Buffer): Stored {
  if (bytes.readInt32LE(12) === OP_QUERY) return read(bytes, bytes.indexOf(0, 20) + 1 + 8)
  if (bytes.readInt32LE(12) !== OP_MSG) throw new Error(`opcode ${bytes.readInt32LE(12)}`)
  let command: Stored = {}
  const sequences: Stored = {}
  for (let at = 20; at < bytes.length; ) {
    const kind = bytes[at++]
    const end = at + bytes.readInt32LE(at)
    if (kind === 0) command = read(bytes, at)
    else {
      const name = bytes.toString('utf8', at + 4, bytes.indexOf(0, at + 4))
      const documents: Stored[] = []
      for (let from = at + 4 + name.length + 1; from < end; from += bytes.readInt32LE(from)) documents.push(read(bytes, from))
      sequences[name] = documents
    }
    at = end
  }
  return { ...command, ...sequences }
}

/** The reply to a message, in its form. */
export function answerTo(bytes: Buffer, reply: Stored): Buffer {
  const body = BSON.serialize(reply)
  const isQuery = bytes.readInt32LE(12) === OP_QUERY
  const head = Buffer.alloc(isQuery ? 36 : 21)
  head.writeInt32LE(head.length + body.length, 0)
  head.writeInt32LE(bytes.readInt32LE(4), 8)
  head.writeInt32LE(isQuery ? OP_REPLY : OP_MSG, 12)
  if (isQuery) head.writeInt32LE(1, 32)
  return Buffer.concat([head, body])
}
