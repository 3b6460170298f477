/** Components of one block by name, as the runtime holds them; drivers come and go while the sidecar runs. */
export interface Named<T> {
  readonly name: string
  readonly type: string
  readonly version: string
  readonly component: T
  /** spec.metadata as resolved, for settings that belong to the block (keyPrefix, outbox…), names lower-cased. */
  readonly properties: Readonly<Record<string, string>>
}
export type ComponentSet<T> = ReadonlyMap<string, Named<T>>
