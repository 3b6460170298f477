import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { startProxy } from '../test/servers/proxy.ts'
import { startSidecar } from '../test/sidecar.ts'
import { FULLS, type FullKind } from './certify-full.ts'
import { certificationPage } from './certify-page.ts'
import { besidePeer } from './certify-peer.ts'
import { Run, type RunResult, startEventsApp } from './certify-run.ts'
import { pause, Victim } from './certify-server.ts'
import { SUBJECTS, type Subject } from './certify-subjects.ts'

/**
 * `node bench/certify.ts [--only REGEX] [--cuts REGEX] [--long] [--parallel N] [--peer DAPRD] [--results FILE] [--page] [--note TEXT]`: what becomes of
 * 100 publishes or saves a second while the server of a driver is away, through bin/outriderd. `--long` adds cuts of 60 s;
 * `--peer DAPRD` measures pubsub.redis beside a daprd (the job `peer`). `--results` keeps what is measured (a later run of the same driver and cut replaces it); `--page` writes
 * docs/components/CERTIFICATION.md from that file, with the note on what else the machine did (--only '^$' measures nothing). Linux; the servers are those of the tests.
 */
const { values: flags } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    cuts: { type: 'string', default: '' },
    long: { type: 'boolean', default: false },
    parallel: { type: 'string', default: '3' },
    peer: { type: 'string', default: '' },
    results: { type: 'string', default: join(tmpdir(), 'outrider-certify.json') },
    page: { type: 'boolean', default: false },
    note: { type: 'string', default: 'nothing else ran' },
  },
})
const seconds = flags.long ? [5, 30, 60] : [5, 30]
const results: RunResult[] = existsSync(flags.results) ? (JSON.parse(readFileSync(flags.results, 'utf8')) as RunResult[]) : []
const wantsCut = (name: string) => new RegExp(flags.cuts).test(name)

/** Ports that are cut off now. The rules outlive the process: whoever has such a port next would hear nothing. */
const cutOff = new Set<number>()
process.once('exit', () => {
  for (const port of cutOff) drop('-D', port)
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

interface Cut {
  name: string
  seconds: number
  begin(): Promise<void> | void
  /** Resolves when the server can be reached again. */
  end(): Promise<void> | void
  /** What the server forgets in this cut is not lost by the driver. */
  forgets?: boolean
  /** Runs before the work begins; the sidecar has to come through that too. */
  before?(): Promise<void>
}

const jobs: [string, () => Promise<void>][] = [
  ...SUBJECTS.map((subject): [string, () => Promise<void>] => [subject.label ?? subject.driver, () => certify(subject)]),
  ['pubsub.sqlite', certifySqlite],
  ...FULLS.map((kind): [string, () => Promise<void>] => [kind.driver, () => certifyFull(kind)]),
]
if (flags.peer) jobs.push(['peer', () => besidePeer(flags.peer, wantsCut, keep)])
const waiting = jobs.filter(([driver]) => new RegExp(flags.only).test(driver))
await Promise.all(
  Array.from({ length: Number(flags.parallel) }, async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const [driver, work] = job
      await work().catch((error: unknown) => console.error(`${driver}: ${error instanceof Error ? error.stack : error}`))
    }
  }),
)
if (flags.page) {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim()
  const [cpu] = cpus()
  const conditions = `${new Date().toISOString().slice(0, 10)}, commit ${commit}, Node ${process.version}, ${cpus().length} × ${cpu?.model ?? 'CPU'}, load average ${loadavg()[0]?.toFixed(0)}; ${flags.note}`
  writeFileSync(join(import.meta.dirname, '../docs/components/CERTIFICATION.md'), certificationPage(results, conditions))
}
process.exit()

async function certify(subject: Subject): Promise<void> {
  const links = ['link cut', 'link silent', 'packets lost'].flatMap((name) => seconds.map((length) => `${name} ${length} s`))
  if (![...links, 'server stopped 20 s', 'server killed 10 s'].some(wantsCut)) return
  if (!subject.server.available()) return console.log(`${subject.label ?? subject.driver}: no ${subject.server.name} on this machine`)
  const server = await subject.server.start()
  const port = Number(/:(\d+)(\/\w+)?$/.exec(server.address)?.[1])
  await using proxy = await startProxy('127.0.0.1', port)
  const victim = new Victim(server, port)
  try {
    const { durable } = subject
    const change = durable && ((args: string[]) => durable(args, proxy.port, port))
    if (change && !subject.durableOnly) await (await victim.kill())(change)
    await subject.prepare?.(server.address)
    let restart = async () => {}
    await certifyComponent(
      subject.driver,
      subject.properties(`127.0.0.1:${proxy.port}`),
      [
        ...seconds.map((seconds) => ({ name: `link cut ${seconds} s`, seconds, begin: () => proxy.cut(), end: () => proxy.heal() })),
        ...seconds.map((seconds) => ({ name: `link silent ${seconds} s`, seconds, begin: () => proxy.stall(), end: () => proxy.heal() })),
        ...seconds.map((seconds) => ({
          name: `packets lost ${seconds} s`,
          seconds,
          begin: () => drop('-I', proxy.port),
          end: () => drop('-D', proxy.port),
        })),
        { name: 'server stopped 20 s', seconds: 20, begin: () => victim.pause(), end: () => victim.resume() },
        {
          name: 'server killed 10 s',
          seconds: 10,
          forgets: subject.keeps === 'nothing',
          before: async () => {
            if (change && subject.durableOnly) await (await victim.kill())(change)
          },
          begin: async () => {
            const again = await victim.kill()
            restart = () => again(change)
          },
          end: () => restart(),
        },
      ],
      { label: subject.label },
    )
  } finally {
    await victim.stop()
  }
}

function keep(result: RunResult): void {
  console.log(JSON.stringify(result))
  const known = results.findIndex((one) => one.driver === result.driver && one.cut === result.cut)
  if (known < 0) results.push(result)
  else results[known] = result
  writeFileSync(flags.results, `[\n${results.map((one) => JSON.stringify(one)).join(',\n')}\n]\n`)
}

/** A server that is there and takes no more, on a sidecar of its own. */
async function certifyFull(kind: FullKind): Promise<void> {
  const name = 'server full 20 s'
  if (!wantsCut(name)) return
  if (!kind.available()) return console.log(`${kind.driver}: not on this machine`)
  await using full = await kind.open()
  if (!full) return console.log(`${kind.driver}: no small disk can be mounted here`)
  const cut = { name, seconds: 20, forgets: full.forgets === true, begin: () => full.fill(), end: () => full.room() }
  await certifyComponent(kind.driver, full.properties, [cut], { version: full.version })
}

/** As a cable pulled out between sidecar and proxy: nobody is told. */
function drop(action: '-I' | '-D', port: number): void {
  if (action === '-I') cutOff.add(port)
  for (const side of ['--dport', '--sport'])
    execFileSync('iptables', [action, 'INPUT', '-i', 'lo', '-p', 'tcp', side, String(port), '-j', 'DROP'], { stdio: 'pipe' })
  if (action === '-D') cutOff.delete(port)
}

/** The embedded broker has no link to cut: another process holds the file's write lock instead. */
async function certifySqlite(): Promise<void> {
  if (!seconds.some((length) => wantsCut(`file locked ${length} s`))) return
  const folder = mkdtempSync(join(tmpdir(), 'outrider-certify-sqlite-'))
  const file = join(folder, 'events.db')
  let other: DatabaseSync | undefined
  const cuts = seconds.map((seconds) => ({
    name: `file locked ${seconds} s`,
    seconds,
    begin() {
      other ??= new DatabaseSync(file)
      other.exec('BEGIN IMMEDIATE')
    },
    end: () => other?.exec('ROLLBACK'),
  }))
  await certifyComponent('pubsub.sqlite', { connectionString: file }, cuts)
  other?.close()
  rmSync(folder, { recursive: true, force: true })
}

/** One sidecar for all cuts of a driver: it has to come through each without a restart. */
async function certifyComponent(
  driver: string,
  properties: Record<string, string>,
  cuts: readonly Cut[],
  { version = 'v1', label = driver }: { version?: string | undefined; label?: string | undefined } = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-certify-'))
  const resources = join(folder, 'resources')
  mkdirSync(resources)
  const metadata = Object.entries(properties).map(([name, value]) => ({ name, value }))
  const spec = { type: driver, version, metadata }
  writeFileSync(
    join(resources, 'target.yaml'),
    JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: 'target' }, spec }),
  )
  const app = driver.startsWith('pubsub') ? await startEventsApp() : undefined
  const sidecar = await startSidecar({ appId: 'certify', dataDir: folder, resources, ...(app ? { appPort: app.port } : {}) })
  let wanted = true
  void sidecar.exited.then(({ code, signal }) => {
    if (wanted) console.error(`${label}: the sidecar ended by itself (${code ?? signal}):\n${sidecar.log().slice(-5000)}`)
  })
  try {
    const run = new Run(label, sidecar, app)
    await run.warmUp()
    for (const cut of cuts.filter(({ name }) => wantsCut(name))) {
      keep(await run.through(cut))
    }
  } finally {
    writeFileSync(join(tmpdir(), `outrider-certify-${label}.log`), sidecar.log())
    wanted = false
    await sidecar.stop()
    await app?.close()
    await pause(100)
    rmSync(folder, { recursive: true, force: true })
  }
}
