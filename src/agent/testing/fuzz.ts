import { Random } from '../../../test/random.ts'

/** Milliseconds for one test. */
const BUDGET = 700
const seed = Number(process.env.OUTRIDER_FUZZ_SEED ?? Date.now() % 2 ** 31)

/** Runs `round` with ever new randomness for a while; a failure names the seed that brings it back. */
export function fuzz(round: (random: Random) => void): void {
  const until = performance.now() + BUDGET
  for (let count = 0; performance.now() < until; count++) {
    try {
      round(new Random(seed + count))
    } catch (error) {
      throw new Error(`OUTRIDER_FUZZ_SEED=${seed + count}`, { cause: error })
    }
  }
}
