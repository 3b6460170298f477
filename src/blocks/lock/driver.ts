import type { Component } from '../../components/component.ts'

/** Dapr's numbers on the wire: SUCCESS 0, LOCK_DOES_NOT_EXIST 1, LOCK_BELONGS_TO_OTHERS 2, INTERNAL_ERROR 3. */
export const UnlockStatus = { Success: 0, DoesNotExist: 1, BelongsToOthers: 2, InternalError: 3 } as const
export type UnlockStatus = (typeof UnlockStatus)[keyof typeof UnlockStatus]

/** One lock store. `resource` is the stored id, prefix included. */
export interface LockStore extends Component {
  tryLock(resource: string, owner: string, expirySeconds: number, signal?: AbortSignal): Promise<boolean>
  unlock(resource: string, owner: string, signal?: AbortSignal): Promise<UnlockStatus>
}
