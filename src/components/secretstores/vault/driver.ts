import { readFile } from 'node:fs/promises'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { HttpClient } from '../../../transport/http1/client.ts'
import type { DriverModule } from '../../component.ts'
import { type AskVault, vaultLeases } from './leases.ts'
import { fields, readSettings } from './settings.ts'

/** Bytes of one reply. */
const LIMIT = 16 << 20
/** Milliseconds for one exchange. */
const PATIENCE = 15_000
/** Secrets asked for at once when all are wanted. */
const PARALLEL = 8

/** A secret or version that is not there; Dapr's words. */
class NotFound extends Error {}

/** secretstores.hashicorp.vault: key-value secrets, version 2 as Dapr reads them, version 1 beside. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from HashiCorp Vault, or OpenBao, over its HTTP API.',
  metadata: fields,
  create(context) {
    const settings = readSettings(context.properties)
    const { address, engine, prefix, version, auth } = settings
    const client = new HttpClient({ connections: PARALLEL, silenceTimeout: PATIENCE, tls: settings.tls })
    const root = address.pathname.replace(/\/+$/, '')
    let token: Promise<string> | undefined
    /** Of a token that was signed in for, epoch milliseconds. */
    let life = { began: 0, ends: Number.POSITIVE_INFINITY }

    const send = async (method: string, path: string, headers: Record<string, string>, body: string | undefined, signal?: AbortSignal) => {
      const patience = AbortSignal.timeout(PATIENCE)
      const url = new URL(`${root}/v1/${path}`, address)
      try {
        return await client.request({
          method,
          url,
          headers: { 'X-Vault-Request': 'true', ...headers },
          body,
          signal: signal ? AbortSignal.any([signal, patience]) : patience,
          limit: LIMIT,
          tooLarge: () => new Error(`Vault at ${address.host} answered with more than ${LIMIT} bytes`),
        })
      } catch (error) {
        throw new Error(`cannot reach Vault at ${address.host}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        })
      }
    }

    const signIn = async (): Promise<string> => {
      if (auth.kind === 'token') return auth.token
      const held = (
        await readFile(auth.path, 'utf8').catch((error: Error) => {
          throw new Error(`couldn't read vault token from mount path ${auth.path} err: ${error.message}`)
        })
      ).trim()
      if (auth.kind === 'file') return held
      const path = `auth/${auth.mount}/login`
      const reply = await send('POST', path, { 'content-type': 'application/json' }, JSON.stringify({ role: auth.role, jwt: held }))
      const signed =
        reply.status === 200 ? (parse(reply.body) as { auth?: { client_token?: string; lease_duration?: number } }).auth : undefined
      const given = signed?.client_token
      if (!given) throw new Error(`Vault at ${address.host} refused the sign-in as role ${auth.role} (${path}): status ${reply.status}`)
      const seconds = signed?.lease_duration
      life = { began: Date.now(), ends: seconds ? Date.now() + seconds * 1000 : Number.POSITIVE_INFINITY }
      return given
    }

    /** Asks with the token at hand, and once more with a fresh one when the server refuses it. */
    const ask = async (method: string, path: string, signal: AbortSignal | undefined, body?: object) => {
      for (let again = auth.kind !== 'token'; ; again = false) {
        token ??= signIn()
        const mine = token
        const bearer = await mine.catch((error: unknown) => {
          if (token === mine) token = undefined
          throw error
        })
        const headers = { 'X-Vault-Token': bearer, ...(body && { 'content-type': 'application/json' }) }
        const reply = await send(method, path, headers, body && JSON.stringify(body), signal)
        if (reply.status !== 403 || !again) return reply
        if (token === mine) token = undefined
      }
    }

    const read = async (name: string, wanted: string, signal: AbortSignal | undefined): Promise<Record<string, string>> => {
      const place = `${prefix}${escaped(name)}`
      const path = version === 1 ? `${engine}/${place}` : `${engine}/data/${place}?version=${encodeURIComponent(wanted)}`
      const { status, body } = await ask('GET', path, signal)
      if (status === 404) throw new NotFound(`getSecret ${name} failed secret key or version not exist`)
      if (status !== 200) throw new Error(`couldn't get successful response, status code ${status}, body ${body.toString()}`)
      const { data } = parse(body) as { data?: Record<string, unknown> }
      const secret = version === 1 ? data : (data?.data as Record<string, unknown> | undefined)
      if (settings.text) return { [name]: typeof secret === 'string' ? secret : JSON.stringify(secret ?? '') }
      return Object.fromEntries(
        Object.entries(secret ?? {}).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]),
      )
    }

    const list = async (folder: string, signal: AbortSignal | undefined): Promise<string[]> => {
      const place = `${prefix}${escaped(folder)}`
      // The form of LIST that every proxy and parser knows.
      const { status, body } = await ask('GET', `${engine}/${version === 1 ? '' : 'metadata/'}${place}?list=true`, signal)
      if (status === 404 && folder === '') return []
      if (status !== 200) throw new Error(`list keys couldn't get successful response, status code: ${status}, response ${body.toString()}`)
      const { data } = parse(body) as { data?: { keys?: string[] } }
      const found = await Promise.all((data?.keys ?? []).map((key) => (key.endsWith('/') ? list(folder + key, signal) : [folder + key])))
      return found.flat()
    }

    const askLeased: AskVault = (method, path, { body, fresh, signal }) => {
      // What is leased by a token that soon ends would soon end.
      if (fresh && Date.now() > (life.began + life.ends) / 2) token = undefined
      return ask(method, path, signal, body)
    }

    return {
      leases: vaultLeases(askLeased, () => life.ends - Date.now(), parse),
      features: settings.text ? [] : ['MULTIPLE_KEY_VALUES_PER_SECRET'],
      async init(signal) {
        const { status } = await send('GET', 'sys/health?standbyok=true&perfstandbyok=true', {}, undefined, signal)
        if (status === 503) throw new Error(`Vault at ${address.host} is sealed: unseal it`)
        token = signIn()
        await token
      },
      async ping(signal) {
        await send('GET', 'sys/health?standbyok=true&perfstandbyok=true', {}, undefined, signal)
      },
      get: (name, metadata, signal) => read(name, metadata.version_id ?? '0', signal),
      async bulkGet(metadata, signal) {
        const names = await list('', signal)
        const found: Record<string, Record<string, string>> = {}
        let next = 0
        const worker = async () => {
          for (let name = names[next++]; name !== undefined; name = names[next++]) {
            try {
              found[name] = await read(name, metadata.version_id ?? '0', signal)
            } catch (error) {
              // Deleted meanwhile, or without that version.
              if (!(error instanceof NotFound)) throw error
            }
          }
        }
        await Promise.all(Array.from({ length: Math.min(PARALLEL, names.length) }, worker))
        return found
      },
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    }
  },
}

/** A path below the engine: its slashes stay, what has a meaning in URLs does not. Nothing leads out of the prefix. */
function escaped(name: string): string {
  const segments = name.split('/')
  if (segments.some((segment) => segment === '.' || segment === '..'))
    throw new NotFound(`getSecret ${name} failed secret key or version not exist`)
  return segments.map(encodeURIComponent).join('/')
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    // The parser's message quotes the text, which may be a secret.
    throw new Error("couldn't decode response body: it is not JSON")
  }
}
