import type { Fetcher, FetchReply } from './fetch.ts'

/** How a client proves itself at the token endpoint: what works, in the form, or in the header. */
export type AuthStyle = 'auto' | 'params' | 'header'

export interface TokenRequest {
  tokenUrl: string
  clientId: string
  clientSecret: string
  style: AuthStyle
  /** Without the client's own fields. */
  form: URLSearchParams
}

export interface Token {
  /** As a header's value: type and token. */
  header: string
  /** Milliseconds it is good for; undefined when the provider does not say. */
  lifetime: number | undefined
}

/** Gets a token by RFC 6749. Rejects without showing what was sent or answered: both may hold secrets. */
export async function requestToken(fetcher: Fetcher, request: TokenRequest): Promise<Token> {
  const { style } = request
  const first = await send(fetcher, request, style !== 'params')
  // Providers that do not take the header say so in many ways.
  const reply = first.status === 200 || style !== 'auto' ? first : await send(fetcher, request, false)
  if (reply.status < 200 || reply.status > 299) throw new Error(`${new URL(request.tokenUrl).origin} answered ${reply.status}`)
  return readToken(reply, request.tokenUrl)
}

function send(fetcher: Fetcher, { tokenUrl, clientId, clientSecret, form }: TokenRequest, inHeader: boolean): Promise<FetchReply> {
  const body = new URLSearchParams(form)
  const headers: Record<string, string> = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
  if (inHeader) {
    const pair = [clientId, clientSecret].map((text) => new URLSearchParams({ t: text }).toString().slice(2)).join(':')
    headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
  } else {
    body.set('client_id', clientId)
    if (clientSecret !== '') body.set('client_secret', clientSecret)
  }
  return fetcher.fetch({ method: 'POST', url: tokenUrl, headers, body: body.toString() })
}

function readToken({ contentType, body }: FetchReply, tokenUrl: string): Token {
  const { origin } = new URL(tokenUrl)
  let fields: Record<string, unknown>
  if (/^(application\/x-www-form-urlencoded|text\/plain)/i.test(contentType)) fields = Object.fromEntries(new URLSearchParams(body))
  else {
    try {
      fields = (JSON.parse(body) ?? {}) as Record<string, unknown>
    } catch {
      throw new Error(`${origin} answered with something that is no JSON`)
    }
  }
  const { access_token: token, token_type: type, expires_in: seconds } = fields
  if (typeof token !== 'string' || token === '') throw new Error(`${origin} answered without an access_token`)
  const lifetime = Number(seconds) * 1000
  return { header: `${typeName(type)} ${token}`, lifetime: lifetime > 0 ? lifetime : undefined }
}

const TYPES: Readonly<Record<string, string>> = { bearer: 'Bearer', mac: 'MAC', basic: 'Basic' }

function typeName(type: unknown): string {
  return typeof type === 'string' && type !== '' ? (TYPES[type.toLowerCase()] ?? type) : 'Bearer'
}
