import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from '../testing/fuzz.ts'
import { type Intake, StreamReader } from './listeners.ts'
import { nameMapper } from './names.ts'
import { readPage } from './prometheus-text.ts'
import { SeriesTable } from './series.ts'
import { StatsdReader } from './statsd.ts'

const LINES = Buffer.from('a.b:1|c|@0.5|#x:y,z\n_e{5,4}:title|text\n_sc|db|0\nt:1:2:3|ms\ng:-4|g|T17|c:abc\nu:one|s\nw,h=a;b:2e3|d')

test('whatever comes by StatsD, it is counted once, and the page can be read', () => {
  fuzz((random) => {
    const table = new SeriesTable(20)
    const reader = new StatsdReader(table, nameMapper([]))
    for (let round = 0; round < 20; round++) reader.read(random.mutate(LINES).toString())
    const { malformed, families } = readPage(table.text())
    assert.equal(malformed, 0)
    assert.ok(table.size <= 20)
    assert.ok(families.every(({ points }) => points.length > 0))
    assert.deepEqual(
      families.reduce((sum, { points }) => sum + points.length, 0),
      table.size,
    )
  })
})

test('a page of metrics with mistakes is read as far as it goes', () => {
  const page = Buffer.from(
    '# HELP a b\n# TYPE a histogram\na_bucket{le="1",x="\\"y\\n"} 1\na_bucket{le="+Inf"} 2\na_sum 3\na_count 2\n# TYPE s summary\ns{quantile="0.5"} NaN\nb{c="d",} -1e9 17\n# EOF\n',
  )
  fuzz((random) => {
    const { families } = readPage(random.mutate(page).toString())
    for (const family of families) {
      for (const point of family.points) {
        if ('bounds' in point) assert.equal(point.counts.length, point.bounds.length + 1)
        else assert.equal(typeof point.value, 'number')
      }
    }
  })
})

test('a stream in pieces gives the lines and the frames that it has in one', () => {
  const took = (chunks: readonly Buffer[]) => {
    const taken: string[] = []
    const intake: Intake = {
      packets: 0,
      bytes: 0,
      refused: 0,
      take: (data) => void taken.push(...data.toString('latin1').split('\n').filter(Boolean)),
    }
    const reader = new StreamReader(intake)
    const whole = chunks.every((chunk) => reader.push(chunk))
    reader.end()
    return { taken, whole }
  }
  fuzz((random) => {
    const lines = Array.from({ length: 1 + random.int(20) }, () => `name${random.int(9)}:1|c`)
    const framed = random.int(2) === 0
    const data = framed
      ? Buffer.concat(
          lines.map((line) => {
            const length = Buffer.alloc(4)
            length.writeUInt32LE(line.length)
            return Buffer.concat([length, Buffer.from(line)])
          }),
        )
      : Buffer.from(lines.join('\n'))
    assert.deepEqual(took(random.split(data)), { taken: lines, whole: true })
    // And nothing that is wrong throws.
    took(random.split(random.mutate(data)))
  })
})
