import { EtagError } from '../../blocks/state/driver.ts'

/** Collects the items of a list that failed while the others were written; thrown as one AggregateError, each naming its `key`. */
export class Failures {
  private readonly errors: Error[] = []

  add(key: string, error: Error): void {
    this.errors.push(Object.assign(error, { key }))
  }

  /** An ETag that is not the stored one. */
  mismatch(key: string): void {
    this.add(key, new EtagError('mismatch', ''))
  }

  throwAny(): void {
    if (this.errors.length) throw new AggregateError(this.errors)
  }
}
