import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { dial } from './dial.ts'

/** Connections of this machine to a port that are asked for and not answered. */
function asked(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter((line) => new RegExp(`^ *\\d+: \\S+ 0100007F:${hex} 02 `).test(line)).length
}

/** A server that stands still: the system takes connections for it until its queue is full, and then drops what asks for one. */
async function fullServer() {
  const program =
    "const s = require('node:net').createServer((c) => c.on('error', () => {})).listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))"
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line)
  child.kill('SIGSTOP')
  const fillers: Socket[] = []
  while (asked(port) === 0) {
    fillers.push(connect(port, '127.0.0.1').on('error', () => {}))
    await pause(20)
  }
  for (const socket of fillers) if (socket.connecting) socket.destroy()
  while (asked(port) > 0) await pause(5)
  return {
    port,
    goOn: () => child.kill('SIGCONT'),
    end() {
      for (const socket of fillers) socket.destroy()
      child.kill('SIGKILL')
    },
  }
}

describe('dial', () => {
  it('tries beside an attempt that gets no answer, a few at most, and keeps the first that comes up', {
    skip: process.platform !== 'linux',
    timeout: 30_000,
  }, async () => {
    const server = await fullServer()
    try {
      const dialing = dial({ host: '127.0.0.1', port: server.port, limit: 30_000 })
      let most = 0
      while (most < 4) {
        most = Math.max(most, asked(server.port))
        await pause(10)
      }
      // One more would have begun by now.
      await pause(400)
      assert.equal(asked(server.port), 4)
      server.goOn()
      const socket = await dialing
      while (asked(server.port) > 0) await pause(5)
      assert.equal(socket.readyState, 'open')
      socket.destroy()
    } finally {
      server.end()
    }
  })

  it('fails when its time is over, when it is told to and when the server refuses, leaving nothing open', {
    skip: process.platform !== 'linux',
    timeout: 30_000,
  }, async () => {
    const server = await fullServer()
    try {
      await assert.rejects(dial({ host: '127.0.0.1', port: server.port, limit: 300 }), /no connection within 300 ms/)
      const ending = new AbortController()
      const dialing = dial({ host: '127.0.0.1', port: server.port, limit: 30_000, signal: ending.signal })
      ending.abort(new Error('not needed'))
      await assert.rejects(dialing, /not needed/)
      while (asked(server.port) > 0) await pause(5)
    } finally {
      server.end()
    }
    const gone = createServer().listen(0, '127.0.0.1')
    await once(gone, 'listening')
    const { port } = gone.address() as { port: number }
    gone.close()
    await once(gone, 'close')
    await assert.rejects(dial({ host: '127.0.0.1', port, limit: 5000 }), /ECONNREFUSED/)
  })
})
