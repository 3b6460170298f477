import { createHmac, timingSafeEqual } from 'node:crypto'

/** The only key, which both SDKs and drivers are given in a connection string. */
export const KEY = { name: 'RootManageSharedAccessKey', key: 'canary-shared-access-key' }
const RESOURCE = /^https:\/\/eventhubs\.azure\.net\/?$/

/** What a token put to `$cbs` allows: the path that it is for and when it ends (ms); throws the service's words. */
export function claimOf(type, token, audience, now = Date.now()) {
  if (type === 'jwt') {
    const { aud, exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString() || '{}')
    if (!RESOURCE.test(aud)) throw new Error('InvalidAudience: the token is not for Event Hubs')
    return { path: pathOf(audience), until: living(exp, now) }
  }
  if (type !== 'servicebus.windows.net:sastoken') throw new Error(`the token type '${type}' is not supported`)
  const parts = Object.fromEntries(
    token
      .replace(/^SharedAccessSignature /, '')
      .split('&')
      .map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]),
  )
  const { sr = '', sig = '', se = '', skn } = parts
  const expected = createHmac('sha256', KEY.key).update(`${sr}\n${se}`).digest()
  const given = Buffer.from(decodeURIComponent(sig), 'base64')
  if (decodeURIComponent(skn ?? '') !== KEY.name || given.length !== expected.length || !timingSafeEqual(given, expected))
    throw new Error('InvalidSignature: The token has an invalid signature.')
  const path = pathOf(decodeURIComponent(sr))
  // What is asked for has to lie below what the signature is for.
  if (!pathOf(audience).startsWith(path)) throw new Error('InvalidAudience: the signature is for another resource')
  return { path, until: living(Number(se), now) }
}

function living(seconds, now) {
  if (!(seconds * 1000 > now)) throw new Error('ExpiredToken: The token is expired.')
  return seconds * 1000
}

/** Of an audience such as `sb://host/hub/Partitions/0`: what stands behind the host, in lower case. */
function pathOf(audience) {
  return audience
    .toLowerCase()
    .replace(/^[a-z]+:\/\//, '')
    .replace(/^[^/]*\/?/, '')
    .replace(/\/+$/, '')
}
