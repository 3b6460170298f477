import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './processes.ts'

/**
 * The proxy beside HAProxy in one run: both in front of the same HAProxy that answers at once, driven by h2load.
 * node bench/proxy.ts [requests]. Needs haproxy and h2load; each proxy may use one core (taskset) of the two that are there.
 */
const requests = Number(process.argv[2] ?? 20_000)
const folder = mkdtempSync(join(tmpdir(), 'outrider-bench-proxy-'))
const children: ChildProcess[] = []

async function open(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('close', () => {}).unref()
      setTimeout(() => socket.destroy(), 20)
    })
    if (up) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens on ${port}`)
}

function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  children.push(child)
  return child
}

/** Microseconds of CPU that a process has used. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

function memory(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

function haproxy(name: string, port: number, body: string): ChildProcess {
  const file = join(folder, `${name}.cfg`)
  writeFileSync(
    file,
    `global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend f\n  bind 127.0.0.1:${port}\n${body}\n`,
  )
  return start('haproxy', ['-db', '-q', '-f', file])
}

function h2load(args: readonly string[]): string {
  const run = spawnSync('h2load', ['--h1', ...args], { encoding: 'utf8' })
  if (!/ 0 failed, 0 errored, 0 timeout/.test(run.stdout)) throw new Error(run.stdout + run.stderr)
  return run.stdout
}

function quantile(file: string, share: number): number {
  const times = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Number(line.split('\t')[2]))
    .sort((a, b) => a - b)
  return times[Math.floor(times.length * share)] ?? 0
}

interface Result {
  name: string
  cpuMicroseconds: number
  p50: number
  p99: number
  idleMiB: number
  busyMiB: number
}

async function measure(name: string, pid: number, port: number): Promise<Result> {
  const url = `http://127.0.0.1:${port}/x`
  const idleMiB = memory(pid)
  // What runs often is compiled by then.
  h2load(['-n', '40000', '-c', '16', url])
  const before = cpu(pid)
  h2load(['-n', String(requests), '-c', '16', url])
  const cpuMicroseconds = (cpu(pid) - before) / requests
  const log = join(folder, `${name}.log`)
  h2load(['-n', '8000', '-c', '10', '--rps', '100', `--log-file=${log}`, url])
  return { name, cpuMicroseconds, p50: quantile(log, 0.5), p99: quantile(log, 0.99), idleMiB, busyMiB: memory(pid) }
}

const [backend, rival, ours] = [await freePort(), await freePort(), await freePort()]
try {
  haproxy('backend', backend, '  http-request return status 200 content-type text/plain string "ok"')
  const other = haproxy('rival', rival, `  default_backend b\nbackend b\n  server s 127.0.0.1:${backend}`)
  const config = join(folder, 'envoy.yaml')
  writeFileSync(
    config,
    JSON.stringify({
      static_resources: {
        listeners: [
          {
            name: 'main',
            address: { socket_address: { address: '127.0.0.1', port_value: ours } },
            filter_chains: [
              {
                filters: [
                  {
                    name: 'envoy.filters.network.http_connection_manager',
                    typed_config: {
                      '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                      stat_prefix: 'main',
                      generate_request_id: false,
                      http_filters: [
                        {
                          name: 'envoy.filters.http.router',
                          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                        },
                      ],
                      route_config: {
                        virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'b' } }] }],
                      },
                    },
                  },
                ],
              },
            ],
          },
        ],
        clusters: [
          {
            name: 'b',
            load_assignment: {
              cluster_name: 'b',
              endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: backend } } } }] }],
            },
          },
        ],
      },
    }),
  )
  const program = fileURLToPath(new URL('../bin/outrider', import.meta.url))
  const proxy = start(program, ['proxy', '-c', config, '--log-level', 'warn'])
  await Promise.all([open(backend), open(rival), open(ours)])
  const results: Result[] = []
  for (const [name, pid, port] of [
    ['haproxy', other.pid, rival],
    ['outrider', proxy.pid, ours],
  ] as const)
    results.push(await measure(name, pid as number, port))
  const [theirs, own] = results as [Result, Result]
  console.log(
    `load average ${loadavg()
      .map((one) => one.toFixed(1))
      .join(' ')}; ${requests} requests, 16 connections; then 1,000 a second over 10`,
  )
  for (const { name, cpuMicroseconds, p50, p99, idleMiB, busyMiB } of results)
    console.log(
      `${name.padEnd(10)} ${cpuMicroseconds.toFixed(1)} µs CPU a request, p50 ${p50} µs, p99 ${p99} µs, idle ${idleMiB.toFixed(0)} MiB, after load ${busyMiB.toFixed(0)} MiB`,
    )
  console.log(`ratios     CPU ${(own.cpuMicroseconds / theirs.cpuMicroseconds).toFixed(2)}, p99 ${(own.p99 / theirs.p99).toFixed(2)}`)
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
}
