import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../../test/servers/process.ts'

/**
 * For names.test.ts, which runs this in a network of its own: two sidecars that share nothing but the link, each with an
 * app. Prints what they answer when each calls the other, and a third that does not exist.
 */
const BIN = fileURLToPath(new URL('../../../bin/outriderd', import.meta.url))

async function startPair(appId: string, folder: string) {
  const app = createServer((request, response) => response.end(`${appId} got ${request.method} ${request.url}`)).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const [http, grpc] = [await freePort(), await freePort()]
  const flags = {
    'app-id': appId,
    'app-port': (app.address() as AddressInfo).port,
    'dapr-http-port': http,
    'dapr-grpc-port': grpc,
    'outrider-data-dir': join(folder, appId),
    'enable-metrics': false,
  }
  const sidecar = spawn(
    BIN,
    Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await new Promise<void>((resolve, reject) => {
    let log = ''
    sidecar.stdout.on('data', (chunk) => {
      log += chunk
      if (log.includes('dapr initialized. Status: Running')) resolve()
    })
    sidecar.once('exit', () => reject(new Error(log)))
  })
  return {
    invoke: async (target: string) => {
      const began = performance.now()
      const reply = await fetch(`http://127.0.0.1:${http}/v1.0/invoke/${target}/method/hello`)
      return { status: reply.status, text: await reply.text(), milliseconds: Math.round(performance.now() - began) }
    },
    async stop() {
      app.closeAllConnections()
      app.close()
      sidecar.kill('SIGTERM')
      await once(sidecar, 'exit')
    },
  }
}

const folder = mkdtempSync(join(tmpdir(), 'link-'))
const one = await startPair('one', folder)
const two = await startPair('two', folder)
const there = await two.invoke('one')
const back = await one.invoke('two')
const missing = [await one.invoke('nobody'), await one.invoke('nobody')]
await one.stop()
const left = await two.invoke('one')
await two.stop()
rmSync(folder, { recursive: true })
console.log(JSON.stringify({ there, back, missing, left }))
