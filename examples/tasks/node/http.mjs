// The few lines of HTTP that both services share; nothing here knows about the sidecar.
import { createServer } from 'node:http'

const LARGEST_BODY = 1024 * 1024

/** Serves `handle(method, path, body, headers) → {status, body?}`; ends at SIGTERM or SIGINT when open requests are answered. */
export function serve(port, handle, onListening) {
  const server = createServer(async (request, response) => {
    try {
      const chunks = []
      let size = 0
      for await (const chunk of request) {
        size += chunk.length
        if (size > LARGEST_BODY) throw Object.assign(new Error('the body is larger than 1 MiB'), { status: 413 })
        chunks.push(chunk)
      }
      const text = Buffer.concat(chunks).toString('utf8')
      const path = new URL(request.url, 'http://app').pathname
      const { status, body } = await handle(request.method, path, () => parse(text), request.headers)
      reply(response, status, body)
    } catch (error) {
      reply(response, error.status ?? 502, { error: error.message })
    }
  })
  server.once('error', (error) => {
    console.error(error.code === 'EADDRINUSE' ? `Port ${port} is taken: set APP_PORT to another one` : error.message)
    process.exit(1)
  })
  server.listen(port, '127.0.0.1', onListening)
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close(() => process.exit(0)))
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    throw Object.assign(new Error('the body is not JSON'), { status: 400 })
  }
}

function reply(response, status, body) {
  if (body === undefined) return response.writeHead(status).end()
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
}

/** One call to this app's own sidecar; throws with the sidecar's answer when that is an error. */
export async function sidecar(method, path, body, headers = {}) {
  const url = `http://127.0.0.1:${process.env.DAPR_HTTP_PORT ?? 3500}/v1.0/${path}`
  const response = await fetch(url, {
    method,
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} /v1.0/${path} → ${response.status} ${text}`)
  return text === '' ? undefined : JSON.parse(text)
}
