import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import { type ServerKind, serverOf } from './server.ts'

export interface RedisServer {
  host: string
  port: number
  stop(): Promise<void>
}

export const redis: ServerKind = {
  name: 'Redis',
  variable: 'OUTRIDER_TEST_REDIS',
  form: 'host:port',
  wants: 'redis-server',
  available: () => findBinary('redis-server', []) !== undefined,
  start: async () => startRedis(await freePort()),
}

/** One of our own, on this port, with more arguments. */
export async function startRedis(port: number, more: readonly string[] = []): Promise<{ address: string; stop(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-redis-'))
  const child = spawn(
    findBinary('redis-server', []) as string,
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory, ...more],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /Ready to accept connections/, 'redis-server', directory)
  return { address: `127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
}

/** {@link serverOf} for Redis, the address in two parts. */
export async function redisServer(): Promise<RedisServer | undefined> {
  const server = await serverOf(redis)
  if (!server) return undefined
  const colon = server.address.lastIndexOf(':')
  const host = colon < 0 ? server.address : server.address.slice(0, colon)
  return { host, port: colon < 0 ? 6379 : Number(server.address.slice(colon + 1)), stop: server.stop }
}
