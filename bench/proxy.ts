import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './processes.ts'

/**
 * The proxy beside HAProxy and nginx in one run: all in front of the same HAProxy that answers at once, driven by h2load.
 * node bench/proxy.ts [requests] [rounds]. Needs haproxy, nginx and h2load. After a warm-up that is not measured each round measures all of
 * them one after another, so that what else the machine does meets all alike; what is printed is the median of the rounds. At 1,000 a
 * second h2load sends ten requests at the same moment every 10 ms, one on each of ten connections: latencies are those of such bursts,
 * from the sending of each.
 */
const requests = Number(process.argv[2] ?? 20_000)
const rounds = Number(process.argv[3] ?? 3)
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

/** With as many workers and kept connections as the others have. */
function nginx(port: number, upstream: number): ChildProcess {
  const file = join(folder, 'nginx.conf')
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  writeFileSync(
    file,
    `worker_processes 1; daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; ${places}
  upstream b { server 127.0.0.1:${upstream}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  )
  return start('nginx', ['-c', file, '-p', folder])
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

interface Figures {
  cpuMicroseconds: number
  p50: number
  p99: number
}

interface Subject {
  name: string
  pid: number
  url: string
  idleMiB: number
  rounds: Figures[]
}

function measure({ name, pid, url }: Subject): Figures {
  const before = cpu(pid)
  h2load(['-n', String(requests), '-c', '16', url])
  const cpuMicroseconds = (cpu(pid) - before) / requests
  const log = join(folder, `${name}.log`)
  rmSync(log, { force: true })
  h2load(['-n', '4000', '-c', '10', '--rps', '100', `--log-file=${log}`, url])
  return { cpuMicroseconds, p50: quantile(log, 0.5), p99: quantile(log, 0.99) }
}

function median(subject: Subject, of: keyof Figures): number {
  const values = subject.rounds.map((round) => round[of]).sort((a, b) => a - b)
  return values[values.length >> 1] ?? Number.NaN
}

const [backend, rival, second, ours] = [await freePort(), await freePort(), await freePort(), await freePort()]
try {
  haproxy('backend', backend, '  http-request return status 200 content-type text/plain string "ok"')
  const other = haproxy('rival', rival, `  default_backend b\nbackend b\n  server s 127.0.0.1:${backend}`)
  const third = nginx(second, backend)
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
  await Promise.all([backend, rival, second, ours].map(open))
  const subjects: Subject[] = []
  for (const [name, child, port] of [
    ['haproxy', other, rival],
    ['nginx', third, second],
    ['outrider', proxy, ours],
  ] as const) {
    const pid = child.pid as number
    subjects.push({ name, pid, url: `http://127.0.0.1:${port}/x`, idleMiB: memory(pid), rounds: [] })
  }
  // What runs often is compiled by then.
  for (const { url } of subjects) h2load(['-n', '40000', '-c', '16', url])
  for (let round = 0; round < rounds; round++) for (const subject of subjects) subject.rounds.push(measure(subject))
  const load = loadavg()
    .map((one) => one.toFixed(1))
    .join(' ')
  console.log(
    `load average ${load}; medians of ${rounds} rounds of ${requests} requests on 16 connections, then 4,000 at 1,000 a second over 10`,
  )
  for (const subject of subjects) {
    const { name, pid, idleMiB } = subject
    console.log(
      `${name.padEnd(10)} ${median(subject, 'cpuMicroseconds').toFixed(1)} µs CPU a request, p50 ${median(subject, 'p50')} µs, p99 ${median(subject, 'p99')} µs (${subject.rounds.map(({ p99 }) => p99).join(', ')}), idle ${idleMiB.toFixed(0)} MiB, after load ${memory(pid).toFixed(0)} MiB`,
    )
  }
  const own = subjects.at(-1) as Subject
  for (const them of subjects.slice(0, -1)) {
    const ratio = (of: keyof Figures) => (median(own, of) / median(them, of)).toFixed(2)
    console.log(`to ${them.name.padEnd(7)} CPU ${ratio('cpuMicroseconds')}, p50 ${ratio('p50')}, p99 ${ratio('p99')}`)
  }
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
}
