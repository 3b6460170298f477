import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import type { DriverModule } from '../../component.ts'
import { ttlOf } from '../../given-ttl.ts'
import { parseMetadata } from '../../metadata.ts'
import type { RedisClient } from '../../redis/client.ts'
import { redisFields } from '../../redis/fields.ts'
import { openRedis } from '../../redis/open.ts'

/** bindings.redis: one key a request, as it stands, without the app's prefix that state has. */
export const driver: DriverModule<Binding> = {
  summary: 'Sets, reads, counts and deletes keys of Redis as they are.',
  metadata: redisFields,
  create(context) {
    const values = parseMetadata(redisFields, context.properties)
    let opened: RedisClient | undefined
    const client = () => {
      if (!opened) throw new Error(`binding ${context.name} is not connected`)
      return opened
    }

    const operations: Readonly<Record<string, (key: string, request: BindingRequest) => Promise<BindingResponse | undefined>>> = {
      async create(key, { data, metadata }) {
        const seconds = secondsOf(metadata)
        if (seconds === undefined) await client().call('SET', key, data)
        // Less than a second is none left: the server refuses an `EX 0`, and an EXPIRE of 0 deletes.
        else if (seconds > 0) await client().call('SET', key, data, 'EX', seconds)
        else await client().call('DEL', key)
        return undefined
      },
      async get(key, { metadata }) {
        const value = await client().callBuffer(metadata.delete === 'true' ? 'GETDEL' : 'GET', key)
        return { data: Buffer.isBuffer(value) ? value : undefined }
      },
      async delete(key) {
        await client().call('DEL', key)
        return undefined
      },
      async increment(key, { metadata }) {
        const seconds = secondsOf(metadata)
        await client().call('INCR', key)
        if (seconds !== undefined) await client().call('EXPIRE', key, seconds)
        return undefined
      },
    }

    return {
      operations: Object.keys(operations),
      async init(signal) {
        opened ??= await openRedis(values, {
          name: context.name,
          signal,
          onError: (error) => context.log.debug(`binding ${context.name}: ${error.message}`),
        })
      },
      async ping() {
        await client().call('PING')
      },
      async invoke(request) {
        const { key } = request.metadata
        if (!key) throw new Error('redis binding: missing key in request metadata')
        const operation = operations[request.operation]
        if (!operation) throw new Error(`invalid operation type: ${request.operation}. Expected ${Object.keys(operations).join(', ')}`)
        return operation(key, request)
      },
      async [Symbol.asyncDispose]() {
        await opened?.close()
      },
    }
  },
}

/** The life of the key in whole seconds, as `ttlInSeconds` of a request says; undefined: it stays. */
function secondsOf(metadata: Readonly<Record<string, string>>): number | undefined {
  const milliseconds = ttlOf(metadata)
  return milliseconds === undefined ? undefined : Math.trunc(milliseconds / 1000)
}
