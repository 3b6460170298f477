import { readFile } from 'node:fs/promises'
import { verifyToken } from '../../components/crypto/jwt.ts'
import { createKeySet } from '../../components/crypto/key-set.ts'
import { parseDuration } from '../../components/metadata.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { checkRequest, denied, type Validator } from './validator.ts'

/** Milliseconds that clocks may be apart. */
const SKEW = 5 * 60_000

/**
 * Believes who brings a token (JWT) signed by a key of a JWKS, for this authority (`aud`) and about himself (`sub`, his SPIFFE id).
 * Options as Dapr has them: source, caCertificate, minRefreshInterval, requestTimeout.
 */
export async function jwksValidator(
  options: Readonly<Record<string, string>>,
  sentryId: string,
  log: Logger,
  signal: AbortSignal,
): Promise<Validator> {
  const duration = (name: string, otherwise: number) => {
    const text = options[name]
    if (text === undefined || text === '') return otherwise
    const value = parseDuration(text)
    if (value === undefined) throw new Error(`the validator jwks: ${name} is "${text}"; expected a duration such as 1m`)
    return value
  }
  const keys = createKeySet({
    location: options.source ?? '',
    requestTimeout: duration('requestTimeout', 30_000),
    minRefreshInterval: duration('minRefreshInterval', 600_000),
    ca: await certificateOf(options.caCertificate),
    onError: (error) => log.warn(`the keys of the validator jwks are not up to date: ${error.message}`),
  })
  await keys.load(signal)
  return {
    async validate(request) {
      if (request.token === '') throw denied('the request does not contain a token')
      const domain = checkRequest(request)
      const subject = `spiffe://${domain}/ns/${request.namespace}/${request.id}`
      try {
        await verifyToken(request.token, { audience: sentryId, subject, skew: SKEW, findKey: (id) => keys.find(id), now: Date.now })
      } catch (error) {
        throw denied(`token validation failed: ${messageOf(error)}`)
      }
      return { trustDomain: domain }
    },
    [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
  }
}

/** PEM, or the path of a file with it. */
async function certificateOf(text: string | undefined): Promise<string | undefined> {
  if (!text) return undefined
  return text.includes('-----BEGIN') ? text : readFile(text, 'utf8')
}
