import type { LockBlock } from '../../blocks/lock/block.ts'
import { bool, enumeration, int32, message, string } from '../../transport/grpc/message.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

const runtime = 'dapr.proto.runtime.v1.'
const TryLockRequest = message(`${runtime}TryLockRequest`, {
  storeName: string(1),
  resourceId: string(2),
  lockOwner: string(3),
  expiryInSeconds: int32(4),
})
const TryLockResponse = message(`${runtime}TryLockResponse`, { success: bool(1) })
const UnlockRequest = message(`${runtime}UnlockRequest`, { storeName: string(1), resourceId: string(2), lockOwner: string(3) })
const UnlockResponse = message(`${runtime}UnlockResponse`, {
  status: enumeration(1, {
    fullName: `${runtime}UnlockResponse.Status`,
    values: { 0: 'SUCCESS', 1: 'LOCK_DOES_NOT_EXIST', 2: 'LOCK_BELONGS_TO_OTHERS', 3: 'INTERNAL_ERROR' },
  }),
})

/** The methods of the distributed lock. */
export function lockMethods(lock: LockBlock): GrpcMethods {
  return [
    daprUnary('TryLockAlpha1', TryLockRequest, TryLockResponse, async ({ storeName, ...request }, call) => ({
      success: await lock.tryLock(storeName, request, call.signal),
    })),
    daprUnary('UnlockAlpha1', UnlockRequest, UnlockResponse, async ({ storeName, ...request }, call) => ({
      status: await lock.unlock(storeName, request, call.signal),
    })),
  ]
}
