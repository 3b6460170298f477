import type { Component } from '../../components/component.ts'

/** One secret store. A secret is a map, most often of one entry named as the secret. */
export interface SecretStore extends Component {
  readonly features: readonly 'MULTIPLE_KEY_VALUES_PER_SECRET'[]
  /** Rejects with an Error naming the secret when it does not exist. */
  get(name: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, string>>
  bulkGet(metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, Record<string, string>>>
}
