import { redisScript } from '../../redis/client.ts'

/**
 * Checks every operation of a list against the stored versions, then applies all or none; gives the number of the first
 * operation that is refused, or 0. KEYS: one key an operation. ARGV, five an operation: `set` or `del`, ETag (`0`: none),
 * data, `0` for first-write, TTL in seconds (empty: keep what is there, 0 or less: remove it).
 * One more ARGV: nothing is written, only looked at. A key is a hash of `data`, `version` and, once written with first-write, `first-write`.
 */
export const APPLY = redisScript(`
local versions, marks, foreign = {}, {}, {}
for i, key in ipairs(KEYS) do
  local kind, etag, first = ARGV[i * 5 - 4], ARGV[i * 5 - 3], ARGV[i * 5 - 1]
  if versions[key] == nil then
    local held = redis.pcall('HMGET', key, 'version', 'first-write')
    if held.err then
      foreign[key] = true
      held = {false, false}
    end
    versions[key] = held[1] or ''
    marks[key] = held[2] and true or false
  end
  local version, mark = versions[key], marks[key]
  if kind == 'set' then
    if not (version == '' or version == etag or (etag == '0' and not mark)) then return i end
    versions[key] = tostring((tonumber(version) or 0) + 1)
    if first == '0' then marks[key] = true end
  else
    if not (version == '' or version == etag or etag == '0') then return i end
    versions[key] = ''
    marks[key] = false
  end
end
if ARGV[#KEYS * 5 + 1] then return 0 end
for i, key in ipairs(KEYS) do
  local kind, data, first, ttl = ARGV[i * 5 - 4], ARGV[i * 5 - 2], ARGV[i * 5 - 1], ARGV[i * 5]
  if kind == 'set' then
    if foreign[key] then
      redis.call('DEL', key)
      foreign[key] = nil
    end
    redis.call('HSET', key, 'data', data)
    if first == '0' then redis.call('HSET', key, 'first-write', 0) end
    redis.call('HINCRBY', key, 'version', 1)
    if ttl ~= '' then
      if tonumber(ttl) > 0 then redis.call('EXPIRE', key, ttl) else redis.call('PERSIST', key) end
    end
  else
    redis.call('DEL', key)
  end
end
return 0
`)

/** What an operation does to its key; those with a j to a document of the JSON module. */
export type Kind = 'set' | 'del' | 'jset' | 'jdel'

const REFUSALS: Readonly<Record<Kind, readonly [line: number, verb: string, script: string]>> = {
  set: [14, 'failed to set key', 'd908b9553add63a82e03589b5c6d01a7654ef0f2'],
  del: [6, 'failed to delete', '2446db0de2c963f100727b388f03ead01d18c265'],
  jset: [17, 'failed to set key', 'c5d8cabb8162d7f0980fe627a55d83f54c800e66'],
  jdel: [6, 'failed to delete', 'a158ecb7b5f4706cf797f7fc9e58b698645915b0'],
}

/** What daprd answers when its own scripts refuse; clients know these words, so they stay though our script is another. */
export function refusal(kind: Kind, key: string): string {
  const [line, verb, script] = REFUSALS[kind]
  return `ERR user_script:${line}: ${verb} ${key} script: ${script}, on @user_script:${line}.`
}
