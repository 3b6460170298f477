import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { makeStream } from '../src/components/pubsub/testing/stream.ts'
import type { BareResult } from './broker-bare.ts'
import { SUBJECTS, type Subject } from './certify-subjects.ts'
import type { Seen, Times } from './events-app.ts'
import { cpuSeconds, familyOf, LoadGenerator, machineSeconds } from './processes.ts'
import { type BenchSidecar, call, startSidecar } from './sidecar.ts'
import { writeSubject } from './subject-component.ts'

/**
 * `node bench/brokers.ts [--only REGEX] [--callers 1,16,64] [--seconds 1] [--rounds 3] [--tries 1] [--set NAME=VALUE …] [NAME=BINARY …]`: events
 * from publish to the app through this sidecar and others (daprd, say), by turns on one server with one YAML, and through the client
 * library alone: publishes and events a second, CPU of an event in the sidecar and in the server, and how long events take.
 * `--set` adds metadata to the component of all; `--profile FOLDER` writes a CPU profile of this sidecar. Linux only.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: '' },
    callers: { type: 'string', default: '1,16,64' },
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    set: { type: 'string', multiple: true, default: [] },
    tries: { type: 'string', default: '1' },
    profile: { type: 'string' },
  },
})
const milliseconds = Number(values.seconds) * 1000
const callers = values.callers.split(',').map(Number)
const own = join(import.meta.dirname, '../bin/outriderd')
const contenders = [...positionals, `outrider=${own}`].map((given) => given.split('=') as [string, string])
const work = mkdtempSync(join(tmpdir(), 'outrider-brokers-'))
const load = new LoadGenerator()
const data = `{"sent":"${'0'.repeat(16)}","name":"order","n":42}`
/** Others' share of the machine, percent, below which a figure counts at once; it is taken again up to so often. */
const CALM = 12
const TRIES = Number(values.tries)
let runs = 0
/** Processes that are not the server's: the contenders, their apps, the load generator. */
const known = new Set<number>([load.pid])

/** The same guarantees for all, whatever each one's defaults are. */
const GUARANTEES: Record<string, Record<string, string>> = {
  'pubsub.rabbitmq': { publisherConfirm: 'true' },
  'pubsub.kafka': { producerRequiredAcks: 'all' },
}

interface Figures {
  publishes: number
  events: number
  /** Microseconds of CPU an event. */
  own: number
  server: number
  harness: number
  /** Milliseconds. */
  p50: number
  p99: number
  /** Share of the machine that work of others had meanwhile, percent. */
  others: number
}

interface Contender extends AsyncDisposable {
  name: string
  measure(callers: number, milliseconds: number): Promise<Figures>
}

try {
  await harness()
  for (const subject of SUBJECTS.filter(({ driver }) => driver.startsWith('pubsub') && new RegExp(values.only).test(driver))) {
    if (!subject.server.available()) console.log(`${subject.driver}: no ${subject.server.name} on this machine`)
    else await compare(subject)
  }
  console.log(`\nload average ${loadavg()[0]?.toFixed(1)}`)
} finally {
  load.stop()
  rmSync(work, { recursive: true, force: true })
}

/** What load generator and app do by themselves: the app called directly. */
async function harness(): Promise<void> {
  const app = await startApp('events')
  const figures: string[] = []
  for (const connections of callers) {
    await load.run({ port: app.port, connections, milliseconds: 300, ...request('/events') })
    const before = cpuSeconds(app.pid) + cpuSeconds(load.pid)
    const { requests, elapsedMilliseconds } = await load.run({ port: app.port, connections, milliseconds: 1000, ...request('/events') })
    const cpu = cpuSeconds(app.pid) + cpuSeconds(load.pid) - before
    figures.push(
      `${Math.round((requests / elapsedMilliseconds) * 1000)}/s with ${connections} (${Math.round((cpu / requests) * 1e6)} µs CPU each)`,
    )
  }
  app.stop()
  console.log(
    `${values.seconds} s a figure, ${values.rounds} rounds by turns; load average ${loadavg()[0]?.toFixed(1)}\nload generator → app, no sidecar: ${figures.join(', ')}`,
  )
}

async function compare(subject: Subject): Promise<void> {
  const server = await subject.server.start()
  const opened: Contender[] = []
  try {
    const address = /(127\.0\.0\.1:\d+)/.exec(server.address)?.[1] as string
    for (const [name, binary] of contenders) opened.push(await openSidecar(name, binary, subject, address, server.address))
    opened.push(await openBare(subject, address))
    for (const contender of opened) await contender.measure(16, 1500)
    console.log(
      `\n${subject.driver}\n| callers | through | publishes /s | events /s | its µs | server µs | harness µs | p50 ms | p99 ms | others % |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |`,
    )
    for (const many of callers) {
      const figures = new Map(opened.map(({ name }) => [name, [] as Figures[]]))
      for (let round = 0; round < Number(values.rounds); round++)
        for (const contender of opened) {
          figures.get(contender.name)?.push(await undisturbed(() => contender.measure(many, milliseconds)))
        }
      const middles = new Map([...figures].map(([name, all]) => [name, middle(all)]))
      for (const [name, its] of middles) console.log(`| ${many} | ${name} | ${row(its)} |`)
      const ours = middles.get('outrider') as Figures
      for (const [name, its] of middles)
        if (name !== 'outrider')
          console.log(
            `| ${many} | outrider / ${name} | ${(ours.publishes / its.publishes).toFixed(2)} | **${(ours.events / its.events).toFixed(2)}** | **${(ours.own / its.own).toFixed(2)}** | ${(ours.server / its.server).toFixed(2)} | | ${(ours.p50 / its.p50).toFixed(2)} | ${(ours.p99 / its.p99).toFixed(2)} | |`,
          )
    }
  } finally {
    for (const contender of opened) await contender[Symbol.asyncDispose]()
    await server.stop()
  }
}

/** The figures of a moment when nobody else works, or the least disturbed of some tries. */
async function undisturbed(measure: () => Promise<Figures>): Promise<Figures> {
  let best: Figures | undefined
  for (let attempt = 0; attempt < TRIES; attempt++) {
    for (const end = performance.now() + 3000; performance.now() < end; ) {
      const before = seconds()
      await pause(200)
      if (since(before).others < CALM) break
    }
    const figures = await measure()
    if (best === undefined || figures.others < best.others) best = figures
    if (best.others < CALM) break
  }
  return best as Figures
}

/** Of several rounds the middle one, figure by figure: one that was disturbed says nothing. */
function middle(all: readonly Figures[]): Figures {
  const of = (name: keyof Figures) => all.map((figures) => figures[name]).sort((a, b) => a - b)[all.length >> 1] ?? Number.NaN
  return {
    publishes: of('publishes'),
    events: of('events'),
    own: of('own'),
    server: of('server'),
    harness: of('harness'),
    p50: of('p50'),
    p99: of('p99'),
    others: of('others'),
  }
}

function row({ publishes, events, own, server, harness, p50, p99, others }: Figures): string {
  const whole = [publishes, events, own, server, harness].map((value) => value.toFixed(0))
  return [...whole, p50.toFixed(2), p99.toFixed(1), others.toFixed(0)].join(' | ')
}

/** CPU seconds so far of the server: of all that runs below this process but for what it started for the contenders; and of others' work. */
function seconds(): { server: number; others: number; at: number } {
  let [server, ours] = [0, 0]
  for (const pid of familyOf(process.pid)) {
    try {
      const its = cpuSeconds(pid)
      ours += its
      if (pid !== process.pid && !known.has(pid)) server += its
    } catch {
      // It ended meanwhile.
    }
  }
  return { server, others: machineSeconds() - ours, at: performance.now() }
}

/** What the server took, and how busy others kept the machine, percent, since `before`. */
function since(before: ReturnType<typeof seconds>): { server: number; others: number } {
  const now = seconds()
  const share = (now.others - before.others) / (((now.at - before.at) / 1000) * availableParallelism())
  return { server: now.server - before.server, others: Math.max(0, share * 100) }
}

async function startApp(topic: string) {
  const app = fork(join(import.meta.dirname, 'events-app.ts'), [topic])
  const [{ port }] = (await once(app, 'message')) as [{ port: number }]
  known.add(app.pid as number)
  const ask = async <T>(question: string) => {
    const answer = once(app, 'message')
    app.send(question)
    return ((await answer) as [T])[0]
  }
  return { port, pid: app.pid as number, seen: () => ask<Seen>('?'), times: () => ask<Times>('times'), stop: () => app.disconnect() }
}

function request(path: string): { request: string; stamp: number } {
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${data.length}\r\n\r\n`
  return { request: head + data, stamp: head.length + data.indexOf('0') }
}

async function openSidecar(name: string, binary: string, subject: Subject, address: string, url: string): Promise<Contender> {
  // A topic of its own: what others left unread is not this run's.
  const topic = `events${++runs}x${process.pid}`
  if (subject.driver === 'pubsub.jetstream') await makeStream(url, topic, [topic])
  const app = await startApp(topic)
  const names: Record<string, string> = subject.driver === 'pubsub.jetstream' ? { durableName: topic, queueGroupName: topic } : {}
  const given = Object.fromEntries(values.set.map((text) => text.split('=') as [string, string]))
  const resources = writeSubject(join(work, topic), subject, address, { ...GUARANTEES[subject.driver], ...names, ...given })
  const sidecar: BenchSidecar = await startSidecar({
    appId: topic,
    resources,
    appPort: app.port,
    binary: [binary],
    ...(values.profile && binary === own ? { profileDirectory: values.profile } : {}),
  })
  known.add(sidecar.pid)
  const path = `/v1.0/publish/target/${topic}`
  // The subscription may begin a while after the sidecar is ready.
  for (const end = performance.now() + 20_000; (await app.seen()).count === 0; await pause(100)) {
    await call(sidecar.httpPort, 'POST', path, data)
    if (performance.now() > end) throw new Error(`${name}: no event comes to the app`)
  }
  const drained = async (still: number) => {
    for (;;) {
      const seen = await app.seen()
      if (seen.count >= still || Date.now() - seen.last > 10_000) return seen
      await pause(50)
    }
  }
  const cpu = () => [cpuSeconds(sidecar.pid), cpuSeconds(app.pid) + cpuSeconds(load.pid)] as const
  return {
    name,
    async measure(connections, milliseconds) {
      const start = await app.seen()
      await app.times()
      const [before, began, all] = [cpu(), Date.now(), seconds()]
      const { requests, bad, elapsedMilliseconds } = await load.run({
        port: sidecar.httpPort,
        connections,
        milliseconds,
        ...request(path),
      })
      const seen = await drained(start.count + requests - bad)
      const [after, { server, others }] = [cpu(), since(all)]
      const delivered = seen.count - start.count
      if (bad > 0 || delivered < requests) console.log(`${name}: ${bad} of ${requests} refused, ${delivered} delivered`)
      const each = (index: 0 | 1) => ((after[index] - before[index]) / delivered) * 1e6
      return {
        publishes: (requests / elapsedMilliseconds) * 1000,
        events: (delivered / (seen.last - began)) * 1000,
        own: each(0),
        server: (server / delivered) * 1e6,
        harness: each(1),
        others,
        ...(await app.times()),
      }
    },
    async [Symbol.asyncDispose]() {
      await sidecar.stop()
      app.stop()
    },
  }
}

async function openBare(subject: Subject, address: string): Promise<Contender> {
  const child = fork(join(import.meta.dirname, 'broker-bare.ts'), [subject.driver, address, `bare${process.pid}`])
  await once(child, 'message')
  const pid = child.pid as number
  known.add(pid)
  return {
    name: 'library alone',
    async measure(connections, milliseconds) {
      const [before, all] = [cpuSeconds(pid), seconds()]
      const answer = once(child, 'message')
      child.send({ callers: connections, milliseconds })
      const [{ published, delivered, publishMilliseconds, milliseconds: whole, p50, p99 }] = (await answer) as [BareResult]
      const { server, others } = since(all)
      return {
        publishes: (published / publishMilliseconds) * 1000,
        events: (delivered / whole) * 1000,
        own: ((cpuSeconds(pid) - before) / delivered) * 1e6,
        server: (server / delivered) * 1e6,
        harness: 0,
        p50,
        p99,
        others,
      }
    },
    async [Symbol.asyncDispose]() {
      child.disconnect()
    },
  }
}
