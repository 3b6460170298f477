import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SUBJECTS, type Subject } from './certify-subjects.ts'
import { cpuSeconds, LoadGenerator, memoryOf } from './processes.ts'
import { type BenchSidecar, call, startSidecar } from './sidecar.ts'
import { writeSubject } from './subject-component.ts'

/**
 * `node bench/drivers.ts [--only REGEX] [--seconds 3] [--rounds 2] [--connections 16] [--memory | --speed] [NAME=BINARY …]`: for each driver what an idle component adds to a
 * sidecar's memory, and for state stores beside other binaries (daprd, say; by turns, in one run) the sidecar's CPU for a read and a
 * save, and how many there are in a second; events have a bench of their own, brokers.ts. The server is the same for all. Linux only.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: '' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '16' },
    memory: { type: 'boolean', default: false },
    speed: { type: 'boolean', default: false },
  },
})
const milliseconds = Number(values.seconds) * 1000
const connections = Number(values.connections)
const own = join(import.meta.dirname, '../bin/outriderd')
const contenders = [`outrider=${own}`, ...positionals].map((given) => given.split('=') as [string, string])
const work = mkdtempSync(join(tmpdir(), 'outrider-drivers-'))
const load = new LoadGenerator()
let runs = 0

interface Cost {
  cpu: number
  rate: number
}

try {
  console.log(
    `${values.seconds} s a figure, ${values.rounds} rounds by turns, ${values.connections} connections, load average ${loadavg()[0]?.toFixed(1)}`,
  )
  for (const subject of SUBJECTS.filter(({ driver }) => new RegExp(values.only).test(driver))) {
    if (!subject.server.available()) console.log(`${subject.driver}: no ${subject.server.name} on this machine`)
    else await measure(subject).catch((error: unknown) => console.log(`${subject.driver}: ${error}`))
  }
  console.log(`load average ${loadavg()[0]?.toFixed(1)}`)
} finally {
  load.stop()
  rmSync(work, { recursive: true, force: true })
}

async function measure(subject: Subject): Promise<void> {
  const server = await subject.server.start()
  try {
    const address = /(127\.0\.0\.1:\d+)/.exec(server.address)?.[1] as string
    if (subject.driver !== 'pubsub.jetstream') await subject.prepare?.(server.address)
    console.log(subject.label ?? subject.driver)
    if (!values.speed) console.log(`  an idle component adds ${await idleCost(subject, address)} MiB (anonymous; median of 3)`)
    if (values.memory || subject.driver.startsWith('pubsub')) return
    const results = new Map<string, Cost[]>()
    for (let round = 0; round < Number(values.rounds); round++)
      for (const [name, binary] of contenders) {
        const figures = await state(subject, address, binary)
        for (const [what, cost] of Object.entries(figures))
          results.set(`${what}/${name}`, [...(results.get(`${what}/${name}`) ?? []), cost])
      }
    const mean = (key: string) => {
      const costs = results.get(key) as Cost[]
      const sum = costs.reduce((all, { cpu, rate }) => ({ cpu: all.cpu + cpu, rate: all.rate + rate }))
      return { cpu: sum.cpu / costs.length, rate: sum.rate / costs.length }
    }
    for (const what of new Set([...results.keys()].map((key) => key.slice(0, key.lastIndexOf('/'))))) {
      const ours = mean(`${what}/outrider`)
      for (const [name] of contenders) {
        const { cpu, rate } = mean(`${what}/${name}`)
        const beside =
          name === 'outrider' ? '' : `  outrider: CPU × ${(ours.cpu / cpu).toFixed(2)}, rate × ${(ours.rate / rate).toFixed(2)}`
        console.log(`  ${what.padEnd(14)} ${name.padEnd(9)} ${cpu.toFixed(0).padStart(5)} µs ${rate.toFixed(0).padStart(6)}/s${beside}`)
      }
    }
  } finally {
    await server.stop()
  }
}

async function idleCost(subject: Subject, address: string): Promise<string> {
  const empty = join(work, 'empty')
  mkdirSync(empty, { recursive: true })
  const differences: number[] = []
  for (let round = 0; round < 3; round++) {
    runs++
    const id = `drivers-${process.pid}-${runs}`
    const pair = await Promise.all([
      startSidecar({ appId: `${id}a`, resources: empty }),
      startSidecar({ appId: `${id}b`, resources: writeSubject(join(work, `resources-${runs}`), subject, address) }),
    ])
    // Until what the start took is given back.
    await pause(8000)
    const [without, with_] = pair.map(({ pid }) => memoryOf(pid).anonymous) as [number, number]
    differences.push(with_ - without)
    await Promise.all(pair.map((sidecar) => sidecar.stop()))
  }
  return (differences.sort((a, b) => a - b)[1] as number).toFixed(1)
}

async function state(subject: Subject, address: string, binary: string): Promise<Record<string, Cost>> {
  runs++
  const sidecar = await startSidecar({
    appId: `drivers-${process.pid}`,
    resources: writeSubject(join(work, `resources-${runs}`), subject, address),
    binary: [binary],
  })
  try {
    const item = '[{"key":"key","value":{"name":"order","n":42}}]'
    if ((await call(sidecar.httpPort, 'POST', '/v1.0/state/target', item)) >= 300) throw new Error('cannot save')
    const save = `POST /v1.0/state/target HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${item.length}\r\n\r\n${item}`
    return {
      get: await requests(sidecar, 'GET /v1.0/state/target/key HTTP/1.1\r\nhost: x\r\n\r\n'),
      save: await requests(sidecar, save),
    }
  } finally {
    await sidecar.stop()
  }
}

async function requests(sidecar: BenchSidecar, request: string): Promise<Cost> {
  const run = (milliseconds: number) => load.run({ port: sidecar.httpPort, request, connections, milliseconds })
  await run(1500)
  const before = cpuSeconds(sidecar.pid)
  const { requests, bad, elapsedMilliseconds } = await run(milliseconds)
  if (bad > 0) throw new Error(`${bad} of ${requests} answers were not 2xx`)
  return { cpu: ((cpuSeconds(sidecar.pid) - before) / requests) * 1e6, rate: (requests / elapsedMilliseconds) * 1000 }
}
