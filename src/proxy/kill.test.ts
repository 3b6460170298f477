import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { test } from 'node:test'
import { freePort } from '../../test/servers/process.ts'
import { createLogger } from '../telemetry/log.ts'
import { readEndpoints } from './envoy/clusters.ts'
import { compileProxy } from './own/compile.ts'
import { ProxyServer } from './server.ts'

const PROGRAM = `
  const { createServer } = require('node:http')
  createServer((incoming, response) => {
    incoming.resume()
    // Some are answered later: at every moment some are under way, with half of the body out.
    incoming.on('end', () => setTimeout(() => response.end(process.argv[1]), Math.random() * 4))
  }).listen(Number(process.argv[1]), '127.0.0.1', () => console.log('ready'))`

/** A server in a process of its own. */
async function start(port: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', PROGRAM, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  return child
}

test('no idempotent request fails while processes behind the proxy are killed (SIGKILL) under load and come back', async () => {
  const ports = [await freePort(), await freePort(), await freePort()]
  const children = await Promise.all(ports.map(start))
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  try {
    const log = createLogger({ level: 'error', json: false, appId: 'test', version: '0', write: () => {} })
    // As it is unless told, but that nobody stays aside for long.
    const a = { endpoints: ports.map((port) => `127.0.0.1:${port}`), outliers: { time: '200ms' } }
    const model = compileProxy({ listeners: [{ port: 0, to: 'a' }], services: { a } })
    await using proxy = new ProxyServer(model, { log, original: undefined, readFile: readEndpoints })
    await proxy.open()
    const { port: entry = 0 } = proxy.listeners[0] ?? {}
    const figure = (name: string) => proxy.clusters.get('a')?.figures[name] ?? Number.NaN
    const answers = new Map<string, number>()
    let stop = false
    const ask = async (method: string, body?: string) => {
      const sent = request({ host: '127.0.0.1', port: entry, method, agent, headers: { 'content-length': body?.length ?? 0 } })
      sent.end(body)
      const [reply] = (await once(sent, 'response')) as [IncomingMessage]
      let text = ''
      for await (const chunk of reply) text += chunk
      const answer = reply.statusCode === 200 ? text : `${reply.statusCode} ${text}`
      answers.set(answer, (answers.get(answer) ?? 0) + 1)
    }
    const load = Array.from({ length: 16 }, async (_, index) => {
      while (!stop) await (index % 2 === 0 ? ask('GET') : ask('PUT', 'a body'))
    })
    const failed = () => [...answers.keys()].filter((answer) => !ports.includes(Number(answer)))
    const served = (port: number) => answers.get(String(port)) ?? 0
    /** Waits until an endpoint has answered so many more, or something has failed. */
    const more = async (port: number, count: number) => {
      const goal = served(port) + count
      for (const end = performance.now() + 20_000; served(port) < goal && failed().length === 0; ) {
        assert.ok(performance.now() < end, `the endpoint on ${port} answers nothing`)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
    for (const port of ports) await more(port, 30)
    for (const round of [0, 1, 2]) {
      const victim = children[round] as ChildProcess
      victim.kill('SIGKILL')
      await once(victim, 'exit')
      // Those that are left serve on, without it …
      await more(ports[(round + 1) % 3] as number, 60)
      children[round] = await start(ports[round] as number)
      // … and it is asked again.
      await more(ports[round] as number, 20)
    }
    stop = true
    await Promise.all(load)
    assert.deepEqual(failed(), [])
    // Else nobody was killed while it had something to do.
    assert.ok(figure('upstream_rq_retry') > 0)
    assert.ok(figure('outlier_detection_ejections_enforced_total') > 0)
  } finally {
    agent.destroy()
    for (const child of children) child.kill('SIGKILL')
  }
})
