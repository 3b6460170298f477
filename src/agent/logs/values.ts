import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { parseDuration } from '../../components/metadata.ts'
import { parseQuantity } from '../../quantity.ts'
import type { RoleContext } from '../role.ts'
import type { SecretText, TlsSpec } from './spec.ts'

/** Milliseconds of a duration that the schema has let through. */
export function milliseconds(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : (parseDuration(text) ?? fallback)
}

/** Bytes of a quantity that the check has let through. */
export function bytesOf(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : (parseQuantity(text) ?? fallback)
}

/** The text itself, from wherever it stands. Rejects with what is missing; the text is in no message. */
export async function secretOf(secret: SecretText | undefined, where: string, context: RoleContext): Promise<string | undefined> {
  if (!secret) return undefined
  if (secret.value !== undefined) return secret.value
  if (secret.envRef !== undefined) {
    const value = context.env[secret.envRef]
    if (value === undefined) throw new Error(`${where}: there is no environment variable ${secret.envRef}`)
    return value
  }
  const { secretStore, secretKeyRef } = secret
  if (!secretKeyRef) throw new Error(`${where} needs value, envRef or secretKeyRef`)
  if (!secretStore) throw new Error(`${where}: secretKeyRef needs secretStore, the name of a secret store component`)
  const { name, key = name } = secretKeyRef
  const value = (await context.components.secretStore(secretStore).get(name, {}, context.signal))[key]
  if (value === undefined) throw new Error(`${where}: the secret ${name} of ${secretStore} has no ${key}`)
  return value
}

/** What a TLS connection is opened with. Throws when a file cannot be read. */
export function tlsOptions(tls: TlsSpec | undefined): ConnectionOptions {
  return {
    ...(tls?.ca && { ca: readFileSync(tls.ca) }),
    ...(tls?.certificate && { cert: readFileSync(tls.certificate) }),
    ...(tls?.key && { key: readFileSync(tls.key) }),
    ...(tls?.insecure && { rejectUnauthorized: false }),
  }
}

/** `host:port`, also with IPv6 in brackets; throws an Error that names it. */
export function hostAndPort(text: string, fallback?: number): { host: string; port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  const port = Number(found?.[3] ?? fallback)
  if (!found || !(port > 0 && port < 65_536)) throw new Error(`${text} is no host:port`)
  return { host: (found[1] ?? found[2]) as string, port }
}
