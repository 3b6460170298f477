import { readFile } from 'node:fs/promises'
import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { HttpClient } from '../../../transport/http1/client.ts'
import { STATUS_CODES } from '../../../transport/node-http.ts'
import type { DriverModule } from '../../component.ts'
import { isTruthy, MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { shownAddress } from '../../shown-address.ts'

const fields: readonly MetadataField[] = [
  { name: 'url', kind: 'string', required: true, description: 'Base URL; the request metadata `path` is appended.' },
  { name: 'responseTimeout', kind: 'duration', description: 'Limit for the whole exchange; none when absent.' },
  {
    name: 'maxResponseBodySize',
    kind: 'string',
    default: '100Mi',
    description: 'Largest response body taken, bytes or a quantity such as 100Mi; 0 for no limit.',
  },
  { name: 'MTLSRootCA', kind: 'string', description: "PEM, or the path of a PEM file: who signed the server's certificate." },
  { name: 'MTLSClientCert', kind: 'string', description: 'PEM, or the path of a PEM file: our certificate.' },
  { name: 'MTLSClientKey', kind: 'string', sensitive: true, description: "PEM, or the path of a PEM file: our certificate's key." },
  {
    name: 'MTLSRenegotiation',
    kind: 'enum',
    values: ['RenegotiateNever', 'RenegotiateOnceAsClient', 'RenegotiateFreelyAsClient', 'OnceAsClient', 'FreelyAsClient'],
    description: 'Accepted; Node never renegotiates.',
  },
  { name: 'securityToken', kind: 'string', sensitive: true, description: 'Sent in the header securityTokenHeader.' },
  { name: 'securityTokenHeader', kind: 'string', description: 'Name of the header for securityToken.' },
  {
    name: 'errorIfNot2XX',
    kind: 'bool',
    default: 'true',
    description: 'A status outside 200–299 is an error; request metadata of the same name overrides it.',
  },
]

const OPERATIONS = ['create', 'get', 'head', 'post', 'put', 'patch', 'delete', 'options', 'trace']
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH'])
const TRACE = ['traceparent', 'tracestate', 'baggage']
const JSON_TYPE = 'application/json; charset=utf-8'

/** A status outside 2xx; carries what the server sent. */
export class StatusError extends Error {
  override readonly name = 'StatusError'
  readonly response: BindingResponse
  constructor(status: number, response: BindingResponse) {
    super(`received status code ${status}`)
    this.response = response
  }
}

/** bindings.http: calls an HTTP endpoint. */
export const driver: DriverModule<Binding> = {
  summary: 'Calls an HTTP endpoint.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const base = String(values.url)
    if (!URL.canParse(base) || !/^https?:/.test(base))
      throw new MetadataError(`metadata field url: "${shownAddress(base)}" is not an http or https URL`)
    const limit = byteSize(String(values.maxResponseBodySize))
    const timeout = Number(values.responseTimeout ?? 0)
    let client: HttpClient | undefined

    const headersFor = (request: BindingRequest, hasBody: boolean) => {
      const headers = new Map<string, string>()
      if (hasBody) headers.set('content-type', JSON_TYPE)
      headers.set('accept', JSON_TYPE)
      for (const [name, value] of Object.entries(request.metadata)) {
        if (/^[A-Z]/.test(name)) headers.set(name.toLowerCase(), value)
      }
      for (const name of TRACE) if (request.metadata[name]) headers.set(name, request.metadata[name])
      if (values.securityToken && values.securityTokenHeader)
        headers.set(String(values.securityTokenHeader).toLowerCase(), String(values.securityToken))
      // The length is the body's own; a caller's would break the framing.
      for (const name of ['content-length', 'transfer-encoding', 'connection', 'upgrade', 'keep-alive', 'expect']) headers.delete(name)
      return Object.fromEntries(headers)
    }

    return {
      operations: OPERATIONS,
      async init() {
        const [ca, cert, key] = await Promise.all(
          [values.MTLSRootCA, values.MTLSClientCert, values.MTLSClientKey].map((value) => pem(value as string | undefined)),
        )
        client = new HttpClient({
          connections: 128,
          redirections: 10,
          tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) },
        })
      },
      async invoke(request, signal) {
        if (!client) throw new Error(`binding ${context.name} is closed`)
        const method = request.operation === 'create' ? 'POST' : request.operation.toUpperCase()
        const url = join(base, request.metadata.path)
        const body = WITH_BODY.has(method) ? request.data : undefined
        const limits = [...(signal ? [signal] : []), ...(timeout > 0 ? [AbortSignal.timeout(timeout)] : [])]
        const reply = await client.request({
          url,
          method,
          headers: headersFor(request, body !== undefined),
          body,
          signal: limits.length > 0 ? AbortSignal.any(limits) : undefined,
          limit,
          tooLarge: () => new Error(`the response body is larger than maxResponseBodySize (${limit} bytes)`),
        })
        const response: BindingResponse = {
          data: reply.body,
          metadata: {
            statusCode: String(reply.status),
            status: `${reply.status} ${reply.reason || (STATUS_CODES[reply.status] ?? '')}`.trim(),
            ...shownHeaders(reply.headers),
          },
        }
        const override = request.metadata.errorIfNot2XX
        const strict = override === undefined ? values.errorIfNot2XX === true : isTruthy(override)
        if (strict && (reply.status < 200 || reply.status > 299)) throw new StatusError(reply.status, response)
        return response
      },
      async [Symbol.asyncDispose]() {
        const closing = client
        client = undefined
        await closing?.close()
      },
    }
  },
}

/** The request's path stays at the base URL's server, below its path. */
function join(base: string, path: string | undefined): URL {
  const root = new URL(base)
  if (!path) return root
  const url = new URL(`${base.replace(/\/+$/, '')}/${path.replace(/^\/+/, '')}`)
  const below = root.pathname.replace(/\/+$/, '')
  if (url.origin !== root.origin || !(url.pathname === below || url.pathname.startsWith(`${below}/`)))
    throw new Error(`metadata path ${path} leads out of the binding's url`)
  return url
}

/** Header names in the form that Go's clients show them, values of several lines joined. */
function shownHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const shown: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name === 'transfer-encoding' || name === 'trailer') continue
    shown[name.toLowerCase().replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())] = Array.isArray(value) ? value.join(', ') : value
  }
  return shown
}

const UNITS: Record<string, number> = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 }

function byteSize(text: string): number {
  const match = /^(-?\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi)?$/.exec(text.trim())
  if (!match) throw new MetadataError(`metadata field maxResponseBodySize: "${text}" is not a number of bytes or a quantity such as 100Mi`)
  return Number(match[1]) * (UNITS[match[2] ?? ''] as number)
}

async function pem(value: string | undefined): Promise<string | undefined> {
  if (!value || value.includes('-----BEGIN')) return value
  return readFile(value, 'utf8')
}
