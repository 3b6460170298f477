import { type LockStore, UnlockStatus } from '../../../blocks/lock/driver.ts'
import type { DriverModule } from '../../component.ts'
import { parseMetadata } from '../../metadata.ts'
import { type RedisClient, redisScript } from '../../redis/client.ts'
import { redisFields } from '../../redis/fields.ts'
import { openRedis } from '../../redis/open.ts'

const UNLOCK = redisScript(`local owner = redis.call('get', KEYS[1])
if not owner then return -1 end
if owner ~= ARGV[1] then return -2 end
return redis.call('del', KEYS[1])`)

/** lock.redis: one key a lock, `SET key owner NX EX seconds`. */
export const driver: DriverModule<LockStore> = {
  summary: 'Locks in Redis.',
  metadata: redisFields,
  create(context) {
    const values = parseMetadata(redisFields, context.properties)
    let opened: RedisClient | undefined
    const client = () => {
      if (!opened) throw new Error(`lock store ${context.name} is not connected`)
      return opened
    }
    return {
      async init(signal) {
        opened ??= await openRedis(values, {
          name: context.name,
          signal,
          onError: (error) => context.log.debug(`lock store ${context.name}: ${error.message}`),
        })
      },
      async ping() {
        await client().call('PING')
      },
      async tryLock(resource, owner, expirySeconds) {
        return (await client().call('SET', resource, owner, 'EX', expirySeconds, 'NX')) === 'OK'
      },
      async unlock(resource, owner) {
        const result = Number(await client().script(UNLOCK, [resource], [owner]))
        if (result === -1) return UnlockStatus.DoesNotExist
        if (result === -2) return UnlockStatus.BelongsToOthers
        return UnlockStatus.Success
      },
      async [Symbol.asyncDispose]() {
        await opened?.close()
      },
    }
  },
}
