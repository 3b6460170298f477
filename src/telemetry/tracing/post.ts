import { request as requestHttps } from 'node:https'
import { request as requestHttp } from '../../transport/node-http.ts'

/** Posts to a collector; rejects when it cannot be reached, is late (milliseconds) or answers with anything but 2xx. */
export function postBytes(url: string, body: Buffer, headers: Readonly<Record<string, string>>, timeout: number): Promise<void> {
  const request = url.startsWith('https:') ? requestHttps : requestHttp
  return new Promise((resolve, reject) => {
    const outgoing = request(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': body.length },
      signal: AbortSignal.timeout(timeout),
    })
    outgoing.on('error', (error) => reject(new Error(`${url}: ${error.message}`, { cause: error })))
    outgoing.on('response', (response) => {
      response.resume()
      const status = response.statusCode ?? 0
      if (status >= 200 && status < 300) resolve()
      else reject(new Error(`${url} answered ${status}`))
    })
    outgoing.end(body)
  })
}
