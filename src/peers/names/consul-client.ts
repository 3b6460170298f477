import { readFile } from 'node:fs/promises'
import { Agent, request } from 'undici'
import { isTruthy } from '../../components/metadata.ts'
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
  const agent = new Agent({
    connections: 4,
    connect: {
      timeout: TIMEOUT,
      ca: await file(tls.text('caFile') ?? env.CONSUL_CACERT),
      cert: await file(tls.text('certFile') ?? env.CONSUL_CLIENT_CERT),
      key: await file(tls.text('keyFile') ?? env.CONSUL_CLIENT_KEY),
      servername: tls.text('address') ?? env.CONSUL_TLS_SERVER_NAME,
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
    const reply = await request(`${base}${path}${search ? `?${search}` : ''}`, {
      method,
      dispatcher: agent,
      headersTimeout: TIMEOUT,
      bodyTimeout: TIMEOUT,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }).catch((error: unknown) => {
      throw new Error(`Consul at ${base} cannot be reached: ${reason(error)}`, { cause: error })
    })
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of reply.body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > REPLY_LIMIT) throw new Error(`Consul answers ${path} with more than ${REPLY_LIMIT} bytes`)
      chunks.push(chunk)
    }
    const text = Buffer.concat(chunks).toString()
    if (reply.statusCode !== 200) throw new Error(`Unexpected response code: ${reply.statusCode} (${text.slice(0, 200).trim()})`)
    return text
  }
  return {
    async get(path, query = {}, more = {}) {
      return JSON.parse(await call('GET', path, query, more))
    },
    async put(path, body) {
      await call('PUT', path, {}, {}, body)
    },
    [Symbol.asyncDispose]: () => agent.destroy(),
  }
}

function reason(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return message || code || String(error)
}
