import { request } from '../transport/node-http.ts'

/** A sidecar's API as the tool reaches it. */
export interface SidecarAddress {
  httpPort: number
  /** Path of the HTTP socket when the sidecar was started with --unix-domain-socket. */
  socket?: string
}

export interface SidecarReply {
  status: number
  statusText: string
  body: string
}

/** Answers longer than this are refused. */
const LONGEST_REPLY = 64 * 1024 * 1024

/**
 * One request to a sidecar on this machine, with DAPR_API_TOKEN when that is set.
 * Rejects when nothing answers within `timeout` milliseconds (default 60 s).
 */
export function callSidecar(
  address: SidecarAddress,
  method: string,
  path: string,
  options: { body?: string | Buffer; contentType?: string; timeout?: number } = {},
): Promise<SidecarReply> {
  return new Promise((done, fail) => {
    const headers: Record<string, string | number> = {}
    if (options.contentType) headers['content-type'] = options.contentType
    if (options.body !== undefined) headers['content-length'] = Buffer.byteLength(options.body)
    if (process.env.DAPR_API_TOKEN) headers['dapr-api-token'] = process.env.DAPR_API_TOKEN
    const where = address.socket ? { socketPath: address.socket } : { host: '127.0.0.1', port: address.httpPort }
    const signal = AbortSignal.timeout(options.timeout ?? 60_000)
    const call = request({ ...where, method, path, headers, signal, agent: false }, (reply) => {
      const chunks: Buffer[] = []
      let size = 0
      reply.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > LONGEST_REPLY) reply.destroy(new Error(`the answer is larger than ${LONGEST_REPLY} bytes`))
        else chunks.push(chunk)
      })
      reply.once('error', fail)
      reply.once('end', () =>
        done({ status: reply.statusCode ?? 0, statusText: reply.statusMessage ?? '', body: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    call.once('error', (error) => fail(signal.aborted ? new Error(`no answer within ${(options.timeout ?? 60_000) / 1000} s`) : error))
    call.end(options.body)
  })
}
