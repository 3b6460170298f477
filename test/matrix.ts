import { appendFileSync } from 'node:fs'
import { it, type TestContext } from 'node:test'

/** What became of one case: `unclaimed` when the driver does not say it can, `missing` when there was no server to ask. */
export type Outcome = 'passed' | 'failed' | 'unclaimed' | 'missing'

/** One line of the record that scripts/matrix.ts makes docs/components/MATRIX.md of. */
export interface CaseRecord {
  /** e.g. `state`. */
  block: string
  /** Column, e.g. `state.redis, cluster`. */
  driver: string
  /** Row: the same words for every driver of the block. */
  case: string
  outcome: Outcome
  /** Place of the case among its driver's. */
  order: number
}

/** How a case of a conformance suite says that it does not apply. */
export interface CaseContext {
  readonly test: TestContext
  /** The driver does not claim this. */
  unclaimed(): void
  /** There is no server on this machine; `of` names what is missing. */
  missing(of: string): void
}

export type Case = (title: string, body: (context: CaseContext) => Promise<void> | void, options?: { timeout?: number }) => void

/**
 * The `it` of a conformance suite: a test like any other, whose outcome is also written to the file that OUTRIDER_MATRIX names.
 * @example const check = matrixCases('pubsub', name); check('delivers what is published', async () => { … })
 */
export function matrixCases(block: string, driver: string): Case {
  const record = process.env.OUTRIDER_MATRIX
  let order = 0
  return (title, body, options = {}) => {
    const place = order++
    it(title, options, async (test) => {
      let outcome: Outcome = 'failed'
      try {
        let reached: Outcome = 'passed'
        await body({
          test,
          unclaimed() {
            reached = 'unclaimed'
            test.skip(`${driver} does not claim this`)
          },
          missing(of) {
            reached = 'missing'
            test.skip(`no ${of} for ${driver} on this machine`)
          },
        })
        outcome = reached
      } finally {
        // One short line in one write: files that run side by side do not tear each other's.
        const line: CaseRecord = { block, driver, case: title, outcome, order: place }
        if (record) appendFileSync(record, `${JSON.stringify(line)}\n`)
      }
    })
  }
}
