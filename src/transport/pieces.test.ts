import assert from 'node:assert/strict'
import { test } from 'node:test'
import { giveBack, isPiece, pieceOf, pieceOfLength } from './pieces.ts'

const KIB = 1024

test('a stream needs no more memory than what of it is under way', () => {
  const seen = new Set<ArrayBufferLike>()
  const underWay: Buffer[] = []
  for (let count = 0; count < 10_000; count++) {
    const piece = pieceOfLength(64 * KIB)
    seen.add(piece.buffer)
    underWay.push(piece)
    if (underWay.length === 10) giveBack(underWay.shift() as Buffer)
  }
  for (const piece of underWay) giveBack(piece)
  assert.ok(seen.size <= 12, `${seen.size} slabs for 10 pieces at once`)
})

test('memory is used again when the last of its pieces has come back, not before', () => {
  const random = [3000, 16 * KIB, 5000, 64 * KIB, 2048, 40 * KIB]
  const alive: { piece: Buffer; mark: number }[] = []
  for (let step = 0; step < 5000; step++) {
    const piece = pieceOf(Buffer.alloc(random[step % random.length] as number, step % 251))
    assert.ok(isPiece(piece))
    alive.push({ piece, mark: step % 251 })
    if (alive.length < 20) continue
    const [{ piece: oldest, mark }] = alive.splice((step * 7) % alive.length, 1) as [{ piece: Buffer; mark: number }]
    assert.equal(oldest[0], mark)
    assert.equal(oldest.at(-1), mark)
    // A view will do.
    giveBack(oldest.subarray(oldest.length - 1))
  }
  for (const { piece, mark } of alive) assert.ok(piece.every((byte) => byte === mark))
})

test('short and very long pieces are memory of their own, and other bytes may be given back without harm', () => {
  assert.ok(!isPiece(pieceOfLength(100)))
  assert.ok(!isPiece(pieceOfLength(1000 * KIB)))
  assert.equal(pieceOfLength(1000 * KIB).length, 1000 * KIB)
  const own = Buffer.alloc(8 * KIB, 'x')
  giveBack(own)
  const piece = pieceOfLength(8 * KIB)
  assert.notEqual(piece.buffer, own.buffer)
})
