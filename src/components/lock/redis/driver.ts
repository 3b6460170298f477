import { type LockStore, UnlockStatus } from '../../../blocks/lock/driver.ts'
import type { DriverModule } from '../../component.ts'
import { parseMetadata } from '../../metadata.ts'
import { closeRedis, connectRedis, redisClient, redisFields } from '../../redis-connection.ts'

const UNLOCK = `local owner = redis.call('get', KEYS[1])
if not owner then return -1 end
if owner ~= ARGV[1] then return -2 end
return redis.call('del', KEYS[1])`

/** lock.redis: one key a lock, `SET key owner NX EX seconds`. */
export const driver: DriverModule<LockStore> = {
  summary: 'Locks in Redis.',
  metadata: redisFields,
  create(context) {
    const client = redisClient(parseMetadata(redisFields, context.properties))
    return {
      init: (signal) => connectRedis(client, signal),
      async ping() {
        await client.ping()
      },
      async tryLock(resource, owner, expirySeconds) {
        return (await client.set(resource, owner, 'EX', expirySeconds, 'NX')) === 'OK'
      },
      async unlock(resource, owner) {
        const result = Number(await client.eval(UNLOCK, 1, resource, owner))
        if (result === -1) return UnlockStatus.DoesNotExist
        if (result === -2) return UnlockStatus.BelongsToOthers
        return UnlockStatus.Success
      },
      [Symbol.asyncDispose]: () => closeRedis(client),
    }
  },
}
