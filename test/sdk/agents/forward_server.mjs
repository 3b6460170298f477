// forward_server.mjs KEY: two servers of the forward protocol, the second with a key. Prints their ports, then each event as [tag, time, record].
import { FluentServer } from '@fluent-org/logger'

const servers = [{}, { security: { serverHostname: 'server', sharedKey: process.argv[2] } }].map(
  (more) => new FluentServer({ listenOptions: { port: 0, host: '127.0.0.1' }, ...more }),
)
for (const server of servers) {
  server.on('entry', (tag, time, record) => console.log(JSON.stringify([tag, Number(time.epoch ?? time), record])))
  await server.listen()
}
console.log(JSON.stringify(servers.map((server) => server.port)))
