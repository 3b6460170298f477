import type { Component } from '../../components/component.ts'

/** One secret store. A secret is a map, most often of one entry named as the secret. */
export interface SecretStore extends Component {
  readonly features: readonly 'MULTIPLE_KEY_VALUES_PER_SECRET'[]
  /** Rejects with an Error naming the secret when it does not exist. */
  get(name: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, string>>
  bulkGet(metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, Record<string, string>>>
  /** Secrets that the store makes for who asks, and that end; undefined: it has none such. */
  readonly leases?: SecretLeases
}

/** A secret that was made for whoever asked for it. */
export interface Lease {
  /** Empty: it ends by itself only. */
  id: string
  /** Milliseconds for which it is good from now; 0: nobody says. */
  duration: number
  renewable: boolean
  values: Readonly<Record<string, string>>
}

export interface SecretLeases {
  /** By the store's own path, whatever prefix the component has. Rejects with an Error that names it. */
  read(path: string, signal?: AbortSignal): Promise<Lease>
  /** Rejects with LeaseGoneError when there is nothing to renew. */
  renew(id: string, signal?: AbortSignal): Promise<Pick<Lease, 'duration' | 'renewable'>>
  revoke(id: string, signal?: AbortSignal): Promise<void>
}

/** A lease that has ended, was revoked, or may not be renewed: what it was for has to be asked for anew. */
export class LeaseGoneError extends Error {
  override readonly name = 'LeaseGoneError'
}
