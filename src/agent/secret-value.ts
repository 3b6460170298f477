import { readFileSync } from 'node:fs'
import type { SecretRef } from '../resources/agent-schema.ts'
import type { RoleContext } from './role.ts'

/** Reads a secret that a role's resource names; rejects with an Error that names where it was looked for, never what it is. */
export async function secretValue(
  ref: SecretRef,
  { env, components }: Pick<RoleContext, 'env' | 'components'>,
  signal?: AbortSignal,
): Promise<string> {
  if (ref.env !== undefined) {
    const value = env[ref.env]
    if (!value) throw new Error(`the environment variable ${ref.env} is not set`)
    return value
  }
  if (ref.file !== undefined) return readFileSync(ref.file, 'utf8').trim()
  const { secretStore = '', name = '', key = name } = ref
  const value = (await components.secretStore(secretStore).get(name, {}, signal))[key]
  if (value === undefined) throw new Error(`the secret ${name} of ${secretStore} has no key ${key}`)
  return value
}
