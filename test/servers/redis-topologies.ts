import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { RedisConnection } from '../../src/components/redis/connection.ts'
import { testAuthority } from './certificates.ts'
import { announced, end, findBinary, freePort } from './process.ts'
import { redis } from './redis.ts'
import { help, type RunningServer } from './server.ts'

/** One process of redis-server, whatever its part in a group. */
interface Node {
  port: number
  child: ChildProcess
  stop(): Promise<void>
}

async function startNode(args: readonly string[], config?: string, port?: number): Promise<Node> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-redis-'))
  const own = port ?? (await freePort())
  const file = join(directory, 'redis.conf')
  writeFileSync(file, config ?? '')
  const child = spawn(
    findBinary('redis-server', []) as string,
    [file, '--port', String(own), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory, ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /Ready to accept connections|Sentinel ID is/, 'redis-server', directory)
  return { port: own, child, stop: () => end(child, 'SIGTERM', directory) }
}

/** Undefined without redis-server; throws where servers are required. */
function available(): boolean {
  if (redis.available()) return true
  if (process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`no redis-server on this machine: ${help(redis)}`)
  return false
}

async function ask<T>(port: number, work: (client: RedisConnection) => Promise<T>): Promise<T> {
  const client = new RedisConnection({ host: '127.0.0.1', port })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}

/** Waits until the server says so; the test's time limit is the bound. */
async function until(port: number, wanted: RegExp, ...command: [string, ...string[]]): Promise<void> {
  await ask(port, async (client) => {
    while (!wanted.test(JSON.stringify(await client.call(...command)))) await pause(50)
  })
}

/** Three masters that share the slots; `host:port` of each, separated by commas. */
export async function redisCluster(): Promise<RunningServer | undefined> {
  if (!available()) return undefined
  const nodes: Node[] = []
  // Each node's bus listens 10,000 above, so that free ports of this range would not do.
  for (let at = 0; at < 3; at++) {
    const bus = await freePort()
    nodes.push(await startNode(['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '2000']))
    await ask((nodes[at] as Node).port, async (client) => {
      const [first, last] = [
        [0, 5460],
        [5461, 10922],
        [10923, 16383],
      ][at] as [number, number]
      await client.call('CLUSTER', 'ADDSLOTSRANGE', first, last)
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1)
      if (at > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', (nodes[0] as Node).port, await busOf((nodes[0] as Node).port))
    })
  }
  for (const node of nodes) await until(node.port, /cluster_state:ok[\s\S]*cluster_known_nodes:3/, 'CLUSTER', 'INFO')
  return {
    address: nodes.map((node) => `127.0.0.1:${node.port}`).join(','),
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  }
}

async function busOf(port: number): Promise<number> {
  return ask(port, async (client) => Number(/@(\d+)/.exec(String(await client.call('CLUSTER', 'NODES')))?.[1]))
}

export interface SentinelGroup extends RunningServer {
  /** Name of the master at the sentinel, whose address is `address`. */
  master: string
  /** Ends the master; the sentinel makes the replica the next one. */
  killMaster(): Promise<void>
}

/** A master, its replica and a sentinel that watches them and fails over after half a second. */
export async function redisSentinel(): Promise<SentinelGroup | undefined> {
  if (!available()) return undefined
  const master = await startNode([])
  const replica = await startNode(['--replicaof', '127.0.0.1', String(master.port)])
  await until(replica.port, /master_link_status:up/, 'INFO', 'replication')
  const sentinel = await startNode(
    ['--sentinel'],
    `sentinel monitor chief 127.0.0.1 ${master.port} 1\nsentinel down-after-milliseconds chief 500\nsentinel failover-timeout chief 3000\n`,
  )
  await until(sentinel.port, /num-slaves","1"/, 'SENTINEL', 'MASTER', 'chief')
  return {
    master: 'chief',
    address: `127.0.0.1:${sentinel.port}`,
    killMaster: () => master.stop(),
    stop: async () => void (await Promise.all([master, replica, sentinel].map((node) => node.stop()))),
  }
}

export interface TlsServer extends RunningServer {
  /** PEM of the authority that signed the server's certificate. */
  ca: string
  /** PEMs of a client that the server lets in. */
  clientCert: string
  clientKey: string
}

/** A server that speaks TLS only and asks clients for a certificate; named localhost. */
export async function redisTls(): Promise<TlsServer | undefined> {
  if (!available()) return undefined
  const { ca, issue } = testAuthority()
  const [server, client] = [issue('localhost'), issue('client')]
  const folder = mkdtempSync(join(tmpdir(), 'outrider-redis-tls-'))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const tlsPort = await freePort()
  const config = [
    `tls-port ${tlsPort}`,
    `tls-cert-file ${file('cert.pem', server.cert)}`,
    `tls-key-file ${file('key.pem', server.key)}`,
    `tls-ca-cert-file ${file('ca.pem', ca)}`,
    'tls-auth-clients yes',
  ]
  const node = await startNode([], config.join('\n'))
  return { address: `localhost:${tlsPort}`, ca, clientCert: client.cert, clientKey: client.key, stop: node.stop }
}
