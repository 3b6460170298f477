import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { MetadataError } from '../metadata.ts'

/** The master key of an account, given in Base64. Throws MetadataError, which does not show it. */
export function readMasterKey(text: string): KeyObject {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text))
    throw new MetadataError('metadata field masterKey: it is not Base64: copy a primary or secondary key of the account')
  return createSecretKey(text, 'base64')
}

/**
 * The Authorization header of a request with an account's key. `type` is the kind of resource (`docs`), `link` its path as it is
 * before percent-encoding, `date` the header x-ms-date.
 * https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources
 */
export function masterKeySignature(method: string, type: string, link: string, date: string, key: KeyObject): string {
  const text = `${method.toLowerCase()}\n${type}\n${link}\n${date.toLowerCase()}\n\n`
  const signature = createHmac('sha256', key).update(text).digest('base64')
  return `type%3Dmaster%26ver%3D1.0%26sig%3D${encodeURIComponent(signature)}`
}

/** The same with a token of Microsoft Entra ID. */
export function entraAuthorization(token: string): string {
  return `type%3Daad%26ver%3D1.0%26sig%3D${encodeURIComponent(token)}`
}
