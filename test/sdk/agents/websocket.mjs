// A server and a client of ws. node websocket.mjs serve — prints its port. node websocket.mjs call URL — prints what it got.
import { WebSocket, WebSocketServer } from 'ws'

if (process.argv[2] === 'serve') {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: (offered) => [...offered][0], perMessageDeflate: true })
  server.on('connection', (socket, request) => {
    socket.send(`hello ${request.url} ${request.headers.host}`)
    socket.on('message', (data, binary) => socket.send(data, { binary }))
  })
  server.on('listening', () => console.log(`port ${server.address().port}`))
} else {
  const socket = new WebSocket(process.argv[3], ['chat', 'other'])
  const heard = []
  socket.on('error', (error) => console.log(JSON.stringify({ error: error.message })))
  const large = Buffer.alloc(300_000, 7)
  socket.on('message', (data, binary) => {
    heard.push(binary ? `${data.length} bytes ${data.equals(large) ? 'whole' : 'broken'}` : data.toString())
    if (heard.length === 1) socket.send('text')
    else if (heard.length === 2) socket.ping('are you there')
    else socket.close(4001, 'enough')
  })
  socket.on('pong', (data) => {
    heard.push(`pong ${data}`)
    socket.send(large)
  })
  socket.on('close', (code, reason) => console.log(JSON.stringify({ protocol: socket.protocol, heard, code, reason: reason.toString() })))
}
