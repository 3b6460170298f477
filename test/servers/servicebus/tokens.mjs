import { createHmac, timingSafeEqual } from 'node:crypto'

/** The only key, which SDK and drivers are given in a connection string. */
export const KEY = { name: 'RootManageSharedAccessKey', key: 'canary-shared-access-key' }
const RESOURCE = /^https:\/\/servicebus\.azure\.net\/?$/

/** What a token allows: the path that it is for and when it ends (ms); throws the service's words. */
export function claimOf(token, audience) {
  const jwt = /^(?:Bearer )?(ey[\w-]+\.[\w-]+\.[\w-]*)$/.exec(token)
  if (jwt) {
    const { aud, exp } = JSON.parse(Buffer.from(jwt[1].split('.')[1], 'base64url').toString())
    if (!RESOURCE.test(aud)) throw new Error('InvalidAudience: the token is not for Service Bus')
    return { path: pathOf(audience), until: living(exp) }
  }
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
  if (!pathOf(audience).startsWith(path)) throw new Error('InvalidAudience: the signature is for another resource')
  return { path, until: living(Number(se)) }
}

function living(seconds) {
  if (!(seconds * 1000 > Date.now())) throw new Error('ExpiredToken: The token is expired.')
  return seconds * 1000
}

/** Of `sb://host/queue` or a bare host: what stands behind the host, in lower case. */
export function pathOf(audience) {
  return audience
    .toLowerCase()
    .replace(/^[a-z]+:\/\//, '')
    .replace(/^[^/]*\/?/, '')
    .replace(/\/+$/, '')
}
