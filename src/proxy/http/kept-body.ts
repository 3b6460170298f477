/** What was sent of a streamed body, as long as it may be sent again. */
export class KeptBody {
  readonly chunks: Buffer[] = []
  size = 0

  add(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.size += chunk.length
  }

  /** All of it; undefined: it is empty. */
  whole(): Buffer | undefined {
    return this.size > 0 ? Buffer.concat(this.chunks, this.size) : undefined
  }
}
