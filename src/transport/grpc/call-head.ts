import type { OutgoingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import { type ClientTls, targetOf } from '../http2/dial.ts'
import { encodeHeaders } from '../http2/hpack.ts'
import { formatTimeout } from './deadline.ts'
import { ACCEPT_ENCODING } from './frames.ts'
import { flatten, GrpcStatus } from './status.ts'

const USUAL: Readonly<Record<string, string>> = {
  'content-type': 'application/grpc',
  te: 'trailers',
  'grpc-accept-encoding': ACCEPT_ENCODING,
}
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Bounds of what is remembered; emptied when full. */
const MAX_HEADS = 1000
const MAX_NAMES = 2000

/** The heads of a client's calls as header blocks; what they begin with is encoded once for each address and method. */
export class CallHeads {
  readonly #tls: ClientTls
  readonly #heads = new Map<string, Map<string, Buffer>>()
  #size = 0
  readonly #names = new Set<string>()

  constructor(tls: ClientTls) {
    this.#tls = tls
  }

  /** The head of a call. Throws GrpcStatus for metadata whose name is none. */
  call(address: string, path: string, headers: OutgoingHttpHeaders | undefined, timeout: number | undefined): Buffer {
    const extra: string[] = []
    let usual = true
    for (const name in headers) {
      const value = headers[name]
      if (value === undefined) continue
      this.#check(name)
      if (USUAL[name] !== undefined) usual = false
      if (Array.isArray(value)) for (const one of value) extra.push(name, one)
      else extra.push(name, String(value))
    }
    if (timeout !== undefined) extra.push('grpc-timeout', formatTimeout(timeout))
    if (!usual) {
      const rest: Record<string, string> = { ...USUAL }
      for (let index = 0; index < extra.length; index += 2) delete rest[extra[index] as string]
      return encodeHeaders([...this.#pseudo(address, path), ...flatten(rest), ...extra])
    }
    const begin = this.#begin(address, path)
    return extra.length === 0 ? begin : Buffer.concat([begin, encodeHeaders(extra)])
  }

  /** The head of a request that is passed on: names and values in turn, `:method` and `:path` first. */
  raw(address: string, headers: readonly string[]): Buffer {
    for (let index = 0; index < headers.length; index += 2) if (!headers[index]?.startsWith(':')) this.#check(headers[index] as string)
    const { scheme, authority } = targetOf(address, this.#tls)
    return encodeHeaders([':scheme', scheme, ':authority', authority, ...headers])
  }

  #begin(address: string, path: string): Buffer {
    let paths = this.#heads.get(address)
    let begin = paths?.get(path)
    if (begin) return begin
    begin = encodeHeaders([...this.#pseudo(address, path), ...flatten(USUAL)])
    if (++this.#size > MAX_HEADS) {
      this.#heads.clear()
      this.#size = 1
      paths = undefined
    }
    if (!paths) {
      paths = new Map()
      this.#heads.set(address, paths)
    }
    paths.set(path, begin)
    return begin
  }

  #pseudo(address: string, path: string): string[] {
    const { scheme, authority } = targetOf(address, this.#tls)
    return [':method', 'POST', ':scheme', scheme, ':path', path, ':authority', authority]
  }

  #check(name: string): void {
    if (this.#names.has(name)) return
    if (!NAME.test(name)) throw new GrpcStatus(Code.Internal, `metadata cannot have the name ${JSON.stringify(name)}`, { sent: false })
    if (this.#names.size >= MAX_NAMES) this.#names.clear()
    this.#names.add(name)
  }
}
