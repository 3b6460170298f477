import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { end, memoryOf } from './processes.ts'
import { type BenchSidecar, call, startSidecar, writeComponents } from './sidecar.ts'

/**
 * `node bench/burst.ts [NAME=BINARY …]`: what of a burst of large bodies a sidecar still has a while later: 30 state saves of
 * 3 MiB, eight at once, to one key of a store, then 100 MiB streamed through two sidecars. Linux only.
 */
const binaries = process.argv.slice(2).length > 0 ? process.argv.slice(2) : [`outrider=${join(import.meta.dirname, '../bin/outriderd')}`]
/** Of this run alone: a bench beside it must not be called. */
const calleeId = `bench-callee-${process.pid}`
const MIB = 2 ** 20
const AFTER = [0, 10, 20, 60]
const work = mkdtempSync(join(tmpdir(), 'outrider-burst-'))
const app = spawn(process.execPath, [join(import.meta.dirname, 'stream-app.ts')], { stdio: ['pipe', 'pipe', 'inherit'] })
const [line] = (await once(app.stdout, 'data')) as [Buffer]
const appPort = Number(line.toString().split(' ')[0])
const client = fork(join(import.meta.dirname, 'stream-load.ts'))
try {
  console.log(`RSS in MiB (anonymous) before, then seconds after the burst: ${AFTER.join(', ')}; load average ${loadavg()[0]?.toFixed(1)}`)
  for (const given of binaries) await measure(given)
} finally {
  client.disconnect()
  await end(app)
  rmSync(work, { recursive: true, force: true })
}

async function measure(given: string): Promise<void> {
  const [name = '', path = ''] = given.split('=')
  const resources = join(work, name)
  const data = join(work, `${name}-data`)
  mkdirSync(resources)
  mkdirSync(data)
  writeComponents(resources, data, undefined, ['memory', 'sqlite', 'events', 'secrets'])
  const common = { resources, binary: [path], appPort, more: { 'max-body-size': '128Mi' } }
  const caller = await startSidecar({ ...common, appId: `bench-caller-${process.pid}` })
  const callee = await startSidecar({ ...common, appId: calleeId })
  try {
    for (let count = 0; count < 50; count++) await call(caller.httpPort, 'POST', '/v1.0/state/sqlite', '[{"key":"large","value":1}]')
    await stream(caller, 65_536)
    await new Promise((resolve) => setTimeout(resolve, 3000))
    for (const store of ['sqlite', 'memory']) {
      const before = told(caller)
      const body = `[{"key":"large","value":"${'x'.repeat(3 * MIB)}"}]`
      let [left, bad] = [30, 0]
      const one = async () => {
        while (left-- > 0) if ((await call(caller.httpPort, 'POST', `/v1.0/state/${store}`, body)) !== 204) bad++
      }
      await Promise.all(Array.from({ length: 8 }, one))
      console.log(
        `${name.padEnd(10)} 30 × 3 MiB to ${store.padEnd(8)} ${before}: ${await later([caller])}${bad > 0 ? `  ${bad} refused` : ''}`,
      )
      await call(caller.httpPort, 'POST', `/v1.0/state/${store}`, '[{"key":"large","value":1}]')
    }
    const before = `${told(caller)} + ${told(callee)}`
    await stream(caller, 100 * MIB)
    console.log(`${name.padEnd(10)} 100 MiB streamed      ${before}: ${await later([caller, callee])}`)
  } finally {
    await caller.stop()
    await callee.stop()
  }
}

async function stream(caller: BenchSidecar, bytes: number): Promise<void> {
  const answer = once(client, 'message')
  client.send({ wire: 'http', direction: 'down', port: caller.httpPort, bytes, callee: calleeId })
  const [message] = (await answer) as [{ error?: string }]
  if (message.error) throw new Error(message.error)
}

async function later(sidecars: readonly BenchSidecar[]): Promise<string> {
  const seen: string[] = []
  let at = 0
  for (const seconds of AFTER) {
    await new Promise((resolve) => setTimeout(resolve, (seconds - at) * 1000))
    at = seconds
    seen.push(sidecars.map(told).join(' + '))
  }
  return seen.join(', ')
}

function told({ pid }: BenchSidecar): string {
  const { rss, anonymous } = memoryOf(pid)
  return `${rss.toFixed(0)} (${anonymous.toFixed(0)})`
}
