import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { CaseRecord } from '../test/matrix.ts'
import { matrixPage } from './matrix.ts'

const line = (driver: string, title: string, outcome: CaseRecord['outcome'], order: number): CaseRecord => ({
  block: 'state',
  driver,
  case: title,
  outcome,
  order,
})

it('is the same whichever test came first', () => {
  const lines = [
    line('b', 'two', 'unclaimed', 1),
    line('a', 'one', 'passed', 0),
    line('b', 'one', 'failed', 0),
    line('a', 'two', 'missing', 1),
  ]
  const page = matrixPage(lines)
  assert.equal(matrixPage([...lines].reverse()), page)
  assert.match(page, /## state\n\n\| {2}\| a \| b \|\n\| --- \| :-: \| :-: \|\n\| one \| ✓ \| ✗ \|\n\| two \| \? \| – \|\n$/)
})
