import { totalmem } from 'node:os'
import { Code, OutriderError } from '../errors.ts'

const MIB = 2 ** 20
/** What the process needs besides: program, components, heap. */
const OWN = 96 * MIB
/** What a byte of a body costs in all: as it came, decoded, and encoded for a component. */
const COPIES = 4
const LEAST = 4 * MIB
const MOST = 256 * MIB
/** Bodies below it are not worth counting. */
export const COUNTED = 4096

/** Bytes of bodies that may be held under a memory limit of so many bytes, or on a machine that has so many. */
export function budgetFor(limit: number | undefined, machine: number): number {
  if (limit === undefined || limit >= machine) return Math.min(MOST, Math.max(LEAST, machine / 8))
  return Math.min(MOST, Math.max(LEAST, (limit - OWN) / COPIES))
}

/** The memory limit of this process's control group, else undefined. */
export function memoryLimit(): number | undefined {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : undefined
}

/**
 * Bounds the bytes of request bodies that are held at one time by all requests together. Past the bound a request is refused
 * with 429 ERR_MEMORY_LIMIT, RESOURCE_EXHAUSTED over gRPC; a body that comes alone is let in whatever its size,
 * for --max-body-size has its own say on that.
 */
export class BodyBudget {
  readonly limit: number
  #held = 0
  /** Requests refused so far. */
  refused = 0

  /** @param limit Bytes; default: by the memory limit of the process. */
  constructor(limit: number = budgetFor(memoryLimit(), totalmem())) {
    this.limit = limit
  }

  get held(): number {
    return this.#held
  }

  /** Throws when there is no room for so many more bytes beside those of other requests. */
  take(bytes: number, own = 0): void {
    if (this.#held + bytes > this.limit && this.#held > own) {
      this.refused++
      throw new OutriderError({
        code: 'ERR_MEMORY_LIMIT',
        http: 429,
        grpc: Code.ResourceExhausted,
        message: `the sidecar holds ${Math.ceil(this.#held / MIB)} MiB of request bodies, as much as its memory allows`,
        hint: 'try again in a second, with fewer large requests at once; a higher memory limit of the sidecar raises the bound',
        retryable: true,
      })
    }
    this.#held += bytes
  }

  give(bytes: number): void {
    this.#held -= bytes
  }
}

/** What one request holds of the budget. */
export class HeldBody {
  readonly #budget: BodyBudget
  #size = 0

  constructor(budget: BodyBudget) {
    this.#budget = budget
  }

  /** The body is of so many bytes by now. Throws when there is no room for them. */
  grow(size: number): void {
    if (size <= this.#size) return
    this.#budget.take(size - this.#size, this.#size)
    this.#size = size
  }

  /** The request is over. */
  release(): void {
    this.#budget.give(this.#size)
    this.#size = 0
  }
}
