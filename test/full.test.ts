import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type Full, type FullKind, QUICK } from '../bench/certify-full.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// Servers that are there and have no room, under one real sidecar: bench/certify.ts measures the same under load and for longer,
// with RabbitMQ and Kafka too (docs/components/CERTIFICATION.md).
const root = mkdtempSync(join(tmpdir(), 'outrider-full-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** What its callers are told: who has no room, the server's own reason, and what to do. */
const TOLD: Readonly<Record<string, RegExp>> = {
  'state.redis': /Redis at 127\.0\.0\.1:\d+ has no room: OOM .*raise maxmemory/,
  'pubsub.redis': /Redis at 127\.0\.0\.1:\d+ has no room: OOM .*raise maxmemory/,
  'state.etcd': /etcd at 127\.0\.0\.1:\d+ has no room: .*database space exceeded .*raise --quota-backend-bytes/,
  'state.memcached': /Memcached has no room for .*out of memory storing object .*start it without -M/,
  'state.mysql': /MySQL at 127\.0\.0\.1:\d+.* has no room: The table 'state' is full .*free space/,
  'state.postgresql': /PostgreSQL at 127\.0\.0\.1:\d+.* has no room: .*No space left on device.* \(free space/,
  'state.sqlite': /SQLite file \S+ has no room: database or disk is full \(free space/,
  'pubsub.sqlite': /SQLite file \S+ has no room: database or disk is full \(free space/,
  'pubsub.jetstream': /NATS at 127\.0\.0\.1:\d+ has no room for events: maximum messages exceeded .*raise the limits/,
}
const LONGEST = 5000

interface Open {
  kind: FullKind
  full: Full
  name: string
}

describe('a server that is full', { concurrency: true, skip: process.platform === 'linux' ? false : 'it reads /proc' }, () => {
  const opened = new Map<string, Open | string>()
  let sidecar: SidecarProcess | undefined
  let rssBefore = 0

  before(async () => {
    const resources = join(root, 'resources')
    mkdirSync(resources)
    await Promise.all(
      QUICK.map(async (kind) => {
        const { driver } = kind
        if (!kind.available()) {
          assert.notEqual(process.env.OUTRIDER_REQUIRE_SERVERS, '1', `the server of ${driver} is not on this machine`)
          return opened.set(driver, `its server is not on this machine`)
        }
        const full = await kind.open()
        if (!full) return opened.set(driver, 'no small disk can be mounted here')
        const name = driver.replace('.', '-')
        opened.set(driver, { kind, full, name })
        const metadata = Object.entries(full.properties).map(([name, value]) => ({ name, value }))
        const spec = { type: driver, version: full.version ?? 'v1', metadata }
        const resource = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name }, spec }
        writeFileSync(join(resources, `${name}.yaml`), JSON.stringify(resource))
      }),
    )
    sidecar = await startSidecar({ appId: `full-${process.pid}`, dataDir: root, resources })
    rssBefore = rss()
  })
  after(async () => {
    await sidecar?.stop()
    await Promise.all([...opened.values()].map(async (one) => typeof one !== 'string' && one.full[Symbol.asyncDispose]()))
  })

  function rss(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${sidecar?.pid}/status`, 'utf8'))?.[1]) / 1024
  }

  async function send({ kind, name }: Open, number: number): Promise<{ status: number; text: string; took: number }> {
    const data = `${number} `.padEnd(kind.driver === 'state.memcached' ? 20 : 2000, 'x')
    const [path, body] = kind.driver.startsWith('state')
      ? [`state/${name}`, [{ key: `k${number}`, value: data }]]
      : [`publish/${name}/events`, data]
    const began = performance.now()
    const answer = await fetch(`${sidecar?.http}/v1.0/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    })
    return { status: answer.status, text: await answer.text(), took: performance.now() - began }
  }

  async function part(name: string): Promise<{ state: string; error?: string }> {
    const { parts } = (await (await fetch(`${sidecar?.http}/v1.0/healthz?verbose`)).json()) as {
      parts: { kind: string; name: string; state: string; error?: string }[]
    }
    return parts.find((one) => one.kind === 'component' && one.name === name) ?? { state: 'not there' }
  }

  for (const kind of QUICK)
    it(`${kind.driver}: a prompt error that says so, health and metadata tell, nothing lost, and on without a restart`, {
      timeout: 60_000,
    }, async (context) => {
      const open = opened.get(kind.driver)
      if (typeof open !== 'object') return context.skip(open ?? 'not opened')
      const { full, name } = open
      const acknowledged: number[] = []
      let number = 0
      const one = async () => {
        const answer = await send(open, ++number)
        if (answer.status === 204) acknowledged.push(number)
        return answer
      }
      for (let count = 0; count < 20; count++) assert.equal((await one()).status, 204)
      await full.fill()
      let refused = await one()
      // What the server has set aside already may still take some.
      for (const end = performance.now() + 20_000; refused.status === 204; refused = await one()) assert.ok(performance.now() < end)
      assert.match(refused.text, TOLD[kind.driver] as RegExp)
      assert.ok(refused.took < LONGEST, `${refused.took} ms for an answer`)
      const told = await part(name)
      assert.equal(told.state, 'retrying')
      assert.match(told.error ?? '', TOLD[kind.driver] as RegExp)
      const metadata = await (await fetch(`${sidecar?.http}/v1.0/metadata`)).json()
      const { extended } = metadata as { extended: Record<string, string> }
      assert.match(extended[`outrider.component.${name}`] ?? '', /^retrying: .* has no room/)
      for (let count = 0; count < 50; count++) assert.ok((await one()).took < LONGEST)
      await full.room()
      const back = performance.now()
      while ((await one()).status !== 204) assert.ok(performance.now() - back < 5000, 'not back within 5 s')
      while ((await part(name)).state !== 'up') {
        assert.ok(performance.now() - back < 15_000, 'health is not well again')
        await pause(50)
      }
      if (kind.driver.startsWith('state') && !full.forgets)
        for (const number of acknowledged) {
          const answer = await fetch(`${sidecar?.http}/v1.0/state/${name}/k${number}`)
          assert.match(await answer.text(), new RegExp(`^"${number} `), `k${number} was acknowledged`)
        }
      assert.ok(rss() - rssBefore < 64, `memory ${rssBefore} → ${rss()} MiB`)
    })
})
