/**
 * The server is there, answers, and takes no writes because it is full: of memory, of disk, or of what it was allowed.
 * The message names server, reason and next step. Health shows the component as retrying while calls fail by this.
 */
export class NoRoomError extends Error {
  override readonly name = 'NoRoomError'
}

/** The error that says a server is full, in what a call was rejected with or in what caused that. */
export function noRoomIn(thrown: unknown): NoRoomError | undefined {
  for (let error: unknown = thrown, depth = 0; error instanceof Error && depth < 10; error = error.cause, depth++) {
    if (error instanceof NoRoomError) return error
    if (error instanceof AggregateError) {
      for (const inner of error.errors) {
        const found = noRoomIn(inner)
        if (found) return found
      }
    }
  }
  return undefined
}
