// An app on a host of a test network: answers with the host's name after some milliseconds, and tells what reached it.
import { createServer } from 'node:http'

const [, , name, port, wait] = process.argv
createServer((request, response) => {
  if (request.url.startsWith('/dapr/')) return response.writeHead(404).end()
  process.stdout.write(`${request.url}\n`)
  setTimeout(() => response.end(name), Number(wait))
}).listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'))
