import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { messageOf } from '../../errors.ts'
import type { SecretFileSpec, SecretFilesSpec } from '../../resources/secret-files-schema.ts'
import type { RoleContext } from '../role.ts'
import { expiryOf } from './expiry.ts'
import type { Secret, SecretReader } from './secret-reader.ts'
import { compileTemplate, type TemplateSource } from './template.ts'
import { ownershipOf, writeSecret } from './write-file.ts'

export interface Written {
  /** It says something else than before. */
  changed: boolean
  /** When what is in it ends first, epoch milliseconds. */
  expiry: number | undefined
}

/** One file of a SecretFiles. Opening it throws what is wrong with its template or its owner. */
export class SecretFile {
  readonly spec: SecretFileSpec
  readonly path: string
  readonly #store: string
  readonly #env: NodeJS.ProcessEnv
  readonly #mode: number
  readonly #owner
  readonly #fill: ((source: TemplateSource) => Promise<string>) | undefined

  constructor(spec: SecretFileSpec, { folder, secretStore }: SecretFilesSpec, { env }: RoleContext) {
    this.spec = spec
    this.path = resolve(folder ?? '.', spec.path)
    this.#store = spec.secretStore ?? secretStore
    this.#env = env
    this.#mode = Number.parseInt(spec.mode ?? '0600', 8)
    this.#owner = this.#named(() => ownershipOf(spec.owner))
    this.#fill = spec.template === undefined ? undefined : this.#named(() => compileTemplate(spec.template as string))
  }

  /** What it has to say now. */
  async text(reader: SecretReader): Promise<string> {
    const { spec } = this
    try {
      if (spec.secret !== undefined) {
        if (spec.key !== undefined) return await reader.value(this.#store, spec.secret, spec.key)
        return formatted(await reader.get(this.#store, spec.secret), spec.format ?? 'json')
      }
      const fill = this.#fill ?? compileTemplate(await readFile(spec.templateFile as string, 'utf8'))
      return await fill({ secret: (name) => reader.get(this.#store, name), env: (name) => this.#env[name] })
    } catch (error) {
      throw new Error(`${this.path}: ${messageOf(error)}`)
    }
  }

  write(text: string): Written {
    return { changed: this.#named(() => writeSecret(this.path, text, this.#mode, this.#owner)), expiry: expiryOf(text) }
  }

  #named<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw new Error(`${this.path}: ${messageOf(error)}`)
    }
  }
}

/** All values of a secret as a file that programs read. */
export function formatted(secret: Secret, format: 'json' | 'env' | 'properties'): string {
  const rows = Object.entries(secret).sort(([a], [b]) => (a < b ? -1 : 1))
  if (format === 'json') return `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`
  if (format === 'env')
    return rows.map(([name, value]) => `${name.replaceAll(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_')}=${shellQuoted(value)}\n`).join('')
  return rows.map(([name, value]) => `${property(name, true)}=${property(value, false)}\n`).join('')
}

/** As shells, systemd and docker's --env-file's relatives read it; a plain word stays as it is. */
function shellQuoted(value: string): string {
  return /^[\w@%+=:,./-]*$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`
}

/** As java.util.Properties reads it. */
function property(text: string, name: boolean): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')
  return name ? escaped.replaceAll(/([ =:#!])/g, '\\$1') : escaped.replace(/^ /, '\\ ')
}
