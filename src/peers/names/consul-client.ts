import { readFile } from 'node:fs/promises'
import { isTruthy } from '../../components/metadata.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import type { Settings } from './settings.ts'

/** Bytes of a reply that we read; thousands of instances fit. */
const REPLY_LIMIT = 8 * 1024 * 1024
const TIMEOUT = 5000

/** Consul's HTTP API, as much of it as finding sidecars needs. */
export interface ConsulClient extends AsyncDisposable {
  get(path: string, query?: Readonly<Record<string, string>>, headers?: Readonly<Record<string, string>>): Promise<unknown>
  put(path: string, body?: unknown): Promise<void>
}

/** Opens a client by Dapr's `client` settings; what they leave out comes from the CONSUL_* variables, then from Consul's defaults. */
export async function openConsul(settings: Settings, env: Readonly<Record<string, string | undefined>>): Promise<ConsulClient> {
  const tls = settings.inside('tlsConfig')
  const given = settings.text('address') ?? env.CONSUL_HTTP_ADDR ?? '127.0.0.1:8500'
  const scheme = /^(https?):\/\//.exec(given)?.[1] ?? settings.text('scheme') ?? (isTruthy(env.CONSUL_HTTP_SSL) ? 'https' : 'http')
  const base = `${scheme}://${given.replace(/^https?:\/\//, '').replace(/\/$/, '')}`
  if (!URL.canParse(base))
    throw new Error(`client.address ${JSON.stringify(given)} is no address of a Consul agent, such as 127.0.0.1:8500`)
  const file = async (path: string | undefined) => (path ? await readFile(path, 'utf8') : undefined)
  const tokenFile = settings.text('tokenFile') ?? env.CONSUL_HTTP_TOKEN_FILE
  const token = tokenFile ? (await file(tokenFile))?.trim() : (settings.text('token') ?? env.CONSUL_HTTP_TOKEN)
  const basic = settings.inside('httpAuth')
  const login = basic.text('username') === undefined ? env.CONSUL_HTTP_AUTH : `${basic.text('username')}:${basic.text('password') ?? ''}`
  const verify = env.CONSUL_HTTP_SSL_VERIFY
  const [ca, cert, key] = await Promise.all([
    file(tls.text('caFile') ?? env.CONSUL_CACERT),
    file(tls.text('certFile') ?? env.CONSUL_CLIENT_CERT),
    file(tls.text('keyFile') ?? env.CONSUL_CLIENT_KEY),
  ])
  const servername = tls.text('address') ?? env.CONSUL_TLS_SERVER_NAME
  const client = new HttpClient({
    connections: 4,
    connectTimeout: TIMEOUT,
    silenceTimeout: TIMEOUT,
    tls: {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(servername !== undefined && { servername }),
      rejectUnauthorized: !(tls.flag('insecureSkipVerify') || (verify !== undefined && verify !== '' && !isTruthy(verify))),
    },
  })
  const datacenter = settings.text('datacenter')
  const headers: Record<string, string> = {
    ...(token ? { 'x-consul-token': token } : {}),
    ...(login ? { authorization: `Basic ${Buffer.from(login).toString('base64')}` } : {}),
  }
  const call = async (method: 'GET' | 'PUT', path: string, query: Readonly<Record<string, string>>, more: object, body?: unknown) => {
    const search = new URLSearchParams({ ...(datacenter ? { dc: datacenter } : {}), ...query }).toString()
    let large = false
    const reply = await client
      .request({
        url: new URL(`${base}${path}${search ? `?${search}` : ''}`),
        method,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more },
        body: body === undefined ? undefined : JSON.stringify(body),
        limit: REPLY_LIMIT,
        tooLarge() {
          large = true
          return new Error(`Consul answers ${path} with more than ${REPLY_LIMIT} bytes`)
        },
      })
      .catch((error: unknown) => {
        throw large ? error : new Error(`Consul at ${base} cannot be reached: ${reason(error)}`, { cause: error })
      })
    const text = reply.body.toString()
    if (reply.status !== 200) throw new Error(`Unexpected response code: ${reply.status} (${text.slice(0, 200).trim()})`)
    return text
  }
  return {
    async get(path, query = {}, more = {}) {
      return JSON.parse(await call('GET', path, query, more))
    },
    async put(path, body) {
      await call('PUT', path, {}, {}, body)
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

function reason(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return message || code || String(error)
}
