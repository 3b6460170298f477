import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { LoadGenerator, memoryOf, startApp } from './processes.ts'
import { requestText, type Scenario, scenarios } from './scenarios.ts'
import { call, startSidecar, writeComponents } from './sidecar.ts'

/**
 * `node bench/memory-limit.ts [--only REGEXP] [MiB …]`: whether one sidecar stays alive and serves under a memory limit. Linux with
 * version 1 control groups, as root: makes a group /sys/fs/cgroup/memory/outrider-bench-*, puts only the sidecar into it
 * and removes it afterwards. The sidecar runs a copy of Node whose pages are in no cache, so that they count.
 */
const { values, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string', default: '.' } } })
const only = new RegExp(values.only)
const limits = positionals.map(Number)
if (limits.length === 0) limits.push(128, 96, 80, 64)
const groups = '/sys/fs/cgroup/memory'
if (!existsSync(join(groups, 'memory.limit_in_bytes'))) throw new Error(`no version 1 memory control groups at ${groups}`)

const work = mkdtempSync(join(tmpdir(), 'outrider-limit-'))
const project = join(import.meta.dirname, '..')
for (const directory of ['resources', 'data', 'root/bin', 'root/node_modules/node-copy/bin'])
  mkdirSync(join(work, directory), { recursive: true })
for (const directory of ['src', 'dist']) symlinkSync(join(project, directory), join(work, 'root', directory))
copyFileSync(join(project, 'bin/outriderd'), join(work, 'root/bin/outriderd'))
const node = join(work, 'root/node_modules/node-copy/bin/node')
copyFileSync(process.execPath, node)
writeComponents(join(work, 'resources'), join(work, 'data'), undefined)
const app = await startApp()
const load = new LoadGenerator()
const named = (name: string) => scenarios.find((scenario) => scenario.name === name) as Scenario
const item = (bytes: number) => `[{"key":"large","value":"${'x'.repeat(bytes)}"}]`
const MIB = 2 ** 20
try {
  for (const limit of limits) await tryLimit(limit)
} finally {
  load.stop()
  app.child.kill()
  rmSync(work, { recursive: true, force: true })
}

async function tryLimit(limit: number): Promise<void> {
  const group = join(groups, `outrider-bench-${process.pid}-${limit}`)
  mkdirSync(group)
  const read = (name: string) => readFileSync(join(group, name), 'utf8')
  try {
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(limit * MIB))
    execFileSync('dd', [`of=${node}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'])
    const sidecar = await startSidecar({
      appId: 'bench-limit',
      resources: join(work, 'resources'),
      appPort: app.port,
      binary: ['/bin/sh', '-c', `echo $$ > ${group}/cgroup.procs; exec ${join(work, 'root/bin/outriderd')} "$@"`, 'sh'],
    })
    console.log(`\nlimit ${limit} MiB: ready in ${sidecar.readyMilliseconds.toFixed(0)} ms, ${usage(sidecar.pid)}`)
    await call(sidecar.httpPort, 'POST', '/v1.0/state/memory', '[{"key":"key","value":1}]')
    const large: Scenario = { name: 'state save in-memory, 1 MiB', method: 'POST', path: '/v1.0/state/memory', body: item(MIB) }
    const event: Scenario = {
      name: 'publish 1 MiB',
      method: 'POST',
      path: '/v1.0/publish/events/topic',
      body: JSON.stringify('x'.repeat(MIB)),
    }
    const { path, grpc: small } = named('gRPC publish in-memory')
    const message = Buffer.concat([small?.message.subarray(0, 15) ?? Buffer.alloc(0), longField(3, MIB)])
    const event2: Scenario = { name: 'gRPC publish 1 MiB', method: 'POST', path, grpc: { message, metadata: {} } }
    for (const scenario of [
      named('state get in-memory'),
      named('publish in-memory'),
      named('state save sqlite'),
      named('gRPC state get in-memory'),
      named('gRPC publish in-memory'),
      large,
      event,
      event2,
      { ...named('publish in-memory'), name: '500 publish in-memory' },
      { ...large, name: '500 state saves, 1 MiB' },
      { ...event, name: '500 publishes, 1 MiB' },
      { ...event2, name: '500 gRPC publishes, 1 MiB' },
      named('state get in-memory'),
      { ...named('state get in-memory'), name: 'state get in-memory, again' },
    ]) {
      if (!only.test(scenario.name)) continue
      const { grpc } = scenario
      const what = grpc
        ? {
            port: sidecar.grpcPort,
            request: '',
            grpc: { path: scenario.path, message: grpc.message.toString('base64'), metadata: grpc.metadata },
          }
        : { port: sidecar.httpPort, request: requestText(scenario) }
      // How far it went in between: what is given back by the end of a run can have been too much before.
      let most = 0
      const sampling = setInterval(() => {
        if (existsSync(`/proc/${sidecar.pid}/status`)) most = Math.max(most, memoryOf(sidecar.pid).anonymous || 0)
      }, 20)
      // Whoever watches over it must get an answer meanwhile.
      const health: number[] = []
      let asked = false
      const asking = setInterval(async () => {
        if (asked) return
        asked = true
        const began = performance.now()
        if ((await call(sidecar.httpPort, 'GET', '/v1.0/healthz')) === 204) health.push(performance.now() - began)
        else health.push(Number.NaN)
        asked = false
      }, 100)
      try {
        const result = await load.run({ ...what, connections: scenario.name.startsWith('500') ? 500 : 16, milliseconds: 3000 })
        const rate = ((result.requests / result.elapsedMilliseconds) * 1000).toFixed(0)
        console.log(
          `  ${scenario.name.padEnd(30)} ${rate.padStart(6)}/s, p99 ${(result.p99Microseconds / 1000).toFixed(1)} ms, ${result.bad} bad, ${result.shed} of them shed; ${usage(sidecar.pid)}, at most ${most.toFixed(0)} anonymous; health ${health.length} times, slowest ${Math.max(...health).toFixed(0)} ms`,
        )
        if (result.worst) console.log(`    ${result.worst.replaceAll('\r\n', ' | ')}`)
      } catch (error) {
        console.log(
          `  ${scenario.name.padEnd(30)} ${String(error)}; at most ${most.toFixed(0)} MiB anonymous; ${existsSync(`/proc/${sidecar.pid}`) ? usage(sidecar.pid) : 'the sidecar is gone'}; ${read('memory.oom_control').replaceAll('\n', ' ')}`,
        )
        break
      } finally {
        clearInterval(sampling)
        clearInterval(asking)
      }
    }
    const highest = Number(read('memory.max_usage_in_bytes')) / MIB
    console.log(`  highest use of the group ${highest.toFixed(0)} MiB, times at the limit ${read('memory.failcnt').trim()}`)
    await sidecar.stop()
  } catch (error) {
    console.log(`\nlimit ${limit} MiB: ${String(error)}; ${read('memory.oom_control').replaceAll('\n', ' ')}`)
  } finally {
    rmdirSync(group)
  }
}

/** A protobuf field of so many bytes. */
function longField(number: number, bytes: number): Buffer {
  const length: number[] = []
  for (let left = bytes; left > 0; left >>= 7) length.push((left & 127) | (left > 127 ? 128 : 0))
  return Buffer.concat([Buffer.from([number * 8 + 2, ...length]), Buffer.alloc(bytes, 'x')])
}

function usage(pid: number): string {
  const { rss, anonymous } = memoryOf(pid)
  return `RSS ${rss.toFixed(0)} MiB (${anonymous.toFixed(0)} anonymous)`
}
