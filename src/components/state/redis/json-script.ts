import { redisScript } from '../../redis/client.ts'

/**
 * As APPLY, with `jset` and `jdel` beside `set` and `del`: a key of theirs is a document of the JSON module, `data`, `version` and,
 * if its last write was first-write, `first-write`. What a key holds in the other form counts with its version, and is replaced.
 */
export const APPLY_JSON = redisScript(`
local forms, versions, marks, nexts = {}, {}, {}, {}
local function member(key, path)
  local found = redis.pcall('JSON.GET', key, path)
  return type(found) == 'string' and found or ''
end
local function form(kind) return string.sub(kind, 1, 1) == 'j' and 'ReJSON-RL' or 'hash' end
for i, key in ipairs(KEYS) do
  local kind, etag, first = ARGV[i * 5 - 4], ARGV[i * 5 - 3], ARGV[i * 5 - 1]
  if forms[key] == nil then
    local held = redis.call('TYPE', key).ok
    versions[key], marks[key] = '', false
    if held == 'hash' then
      local found = redis.call('HMGET', key, 'version', 'first-write')
      versions[key], marks[key] = found[1] or '', found[2] and true or false
    elseif held == 'ReJSON-RL' then
      versions[key], marks[key] = member(key, '.version'), member(key, '.first-write') ~= ''
    end
    forms[key] = held
  end
  local version, mark = versions[key], marks[key]
  if kind == 'set' or kind == 'jset' then
    if not (version == '' or version == etag or (etag == '0' and not mark)) then return i end
    local from = version ~= '' and version or (kind == 'jset' and etag or '0')
    nexts[i] = string.format('%.0f', (tonumber(from) or 0) + 1)
    versions[key] = nexts[i]
    marks[key] = first == '0' or (kind == 'set' and forms[key] == 'hash' and mark)
    forms[key] = form(kind)
  else
    if not (version == '' or version == etag or etag == '0') then return i end
    forms[key], versions[key], marks[key] = 'none', '', false
  end
end
if ARGV[#KEYS * 5 + 1] then return 0 end
for i, key in ipairs(KEYS) do
  local kind, data, first, ttl = ARGV[i * 5 - 4], ARGV[i * 5 - 2], ARGV[i * 5 - 1], ARGV[i * 5]
  if kind == 'set' or kind == 'jset' then
    local held = redis.call('TYPE', key).ok
    if held ~= 'none' and held ~= form(kind) then redis.call('DEL', key) end
    if kind == 'jset' then
      local mark = first == '0' and ',"first-write":0' or ''
      redis.call('JSON.SET', key, '$', '{"data":' .. data .. mark .. ',"version":' .. nexts[i] .. '}')
    else
      redis.call('HSET', key, 'data', data, 'version', nexts[i])
      if first == '0' then redis.call('HSET', key, 'first-write', 0) end
    end
    if ttl ~= '' then
      if tonumber(ttl) > 0 then redis.call('EXPIRE', key, ttl) else redis.call('PERSIST', key) end
    end
  else
    redis.call('DEL', key)
  end
end
return 0
`)

/** Value and version of a document as they are at one moment; `other` for a key that holds something else, nil for none. */
export const READ_JSON = redisScript(`
local held = redis.call('TYPE', KEYS[1]).ok
if held == 'none' then return false end
if held ~= 'ReJSON-RL' then return 'other' end
local data = redis.pcall('JSON.GET', KEYS[1], '.data')
local version = redis.pcall('JSON.GET', KEYS[1], '.version')
return {type(data) == 'string' and data or 'null', type(version) == 'string' and version or false}
`)
