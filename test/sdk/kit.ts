import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { freePorts } from '../../src/cli/ports.ts'
import { postgresServer } from '../servers/postgres.ts'
import { redisServer } from '../servers/redis.ts'
import { becomesReady } from '../sidecar.ts'

/** OUTRIDER_TEST_DAPRD runs the same programs against another sidecar, such as the real daprd. */
export const binary = process.env.OUTRIDER_TEST_DAPRD ?? join(import.meta.dirname, '..', '..', 'bin', 'outriderd')
const LOG_LIMIT = 100_000
const LOG_SHOWN = 3000
/** What a program prints before each reply; everything else that it prints is its log. */
const MARK = '@@'

export interface Program {
  /** App id. */
  name: string
  protocol: 'http' | 'grpc'
  command: string
  args: readonly string[]
  cwd: string
  /** For the program and its sidecar, such as DAPR_API_TOKEN, which both must know. */
  env?: Readonly<Record<string, string>>
}

export interface Bench extends AsyncDisposable {
  appId: string
  /** Base URL of the sidecar's HTTP API. */
  http: string
  /** A client of the Redis that all components use. */
  redis: Redis
  /** Has the program run one of its features; its answer, or an error with what the SDK threw. */
  ask(feature: string): Promise<unknown>
  /** The app id of a second one of the program, beside a sidecar of its own; started when first asked for. */
  peer(): Promise<string>
  /** The sidecar's exit code, once it is gone. */
  exited: Promise<number | null>
  /** The last lines of the sidecar and of the program. */
  logs(): string
}

interface Reply {
  feature: string
  result?: unknown
  error?: string
}

/**
 * Starts Redis, PostgreSQL, a sidecar on test/sdk/resources, and the program beside it; resolves when both are ready.
 * The program gets DAPR_HTTP_PORT, DAPR_GRPC_PORT, APP_ID, APP_PORT, APP_PROTOCOL and PEER_ID. It reads the name of a feature a
 * line, runs it with its SDK, and prints `@@{"feature": …, "result": …}` or `@@{"feature": …, "error": …}`; `ready` is its first.
 * Undefined when a server is missing on this machine.
 */
export async function startBench(program: Program): Promise<Bench | undefined> {
  const redis = await redisServer()
  const postgres = redis && (await postgresServer())
  if (!redis || !postgres) {
    await redis?.stop()
    return undefined
  }
  const folder = mkdtempSync(join(tmpdir(), 'outrider-sdk-'))
  const resources = layOut(folder, { ADDRESS: `${redis.host}:${redis.port}`, DATABASE: postgres.url, FOLDER: folder })
  const client = new Redis({ host: redis.host, port: redis.port })
  const pairs: Promise<Pair>[] = []
  const start = (appId: string, more: readonly string[]) => {
    const pair = startPair(program, appId, folder, [`--config=${join(folder, 'config.yaml')}`, ...more])
    pairs.push(pair)
    return pair
  }
  const dispose = async () => {
    client.disconnect()
    await Promise.all((await Promise.allSettled(pairs)).map((pair) => pair.status === 'fulfilled' && pair.value.kill()))
    await Promise.all([redis.stop(), postgres.stop()])
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const { http, ask, exited, logs } = await start(program.name, [`--resources-path=${resources}`])
    let peer: Promise<Pair> | undefined
    return {
      appId: program.name,
      http,
      redis: client,
      ask,
      async peer() {
        peer ??= start(peerOf(program.name), [])
        return (await peer).appId
      },
      exited,
      logs,
      [Symbol.asyncDispose]: dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

const peerOf = (appId: string) => `${appId}-peer`

/** A program and its sidecar. */
interface Pair extends Pick<Bench, 'appId' | 'http' | 'ask' | 'exited' | 'logs'> {
  kill(): Promise<unknown>
}

/** Resolves when both are ready; when that fails nothing of them is left. */
async function startPair(program: Program, appId: string, folder: string, args: readonly string[]): Promise<Pair> {
  const [appPort, http, grpc, internal, metrics] = await freePorts(5)
  const env = {
    DAPR_HTTP_PORT: String(http),
    DAPR_GRPC_PORT: String(grpc),
    APP_ID: appId,
    APP_PORT: String(appPort),
    PEER_ID: peerOf(appId),
  }
  const app = start(program.command, program.args, {
    cwd: program.cwd,
    env: { ...process.env, ...env, ...program.env, APP_PROTOCOL: program.protocol },
  })
  const flags = {
    'app-id': appId,
    'app-port': appPort,
    'app-protocol': program.protocol,
    'dapr-http-port': http,
    'dapr-grpc-port': grpc,
    'dapr-internal-grpc-port': internal,
    'metrics-port': metrics,
    'dapr-listen-addresses': '127.0.0.1',
  }
  const sidecar = start(binary, [...Object.entries(flags).map(([name, value]) => `--${name}=${value}`), ...args], {
    cwd: folder,
    env: { ...process.env, ...program.env },
  })
  const waiting = new Map<string, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  const logs = () => `--- sidecar\n${sidecar.log().slice(-LOG_SHOWN)}\n--- program\n${app.log().slice(-LOG_SHOWN)}`
  createInterface({ input: app.child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    if (!line.startsWith(MARK)) return
    const reply = JSON.parse(line.slice(MARK.length)) as Reply
    const asked = waiting.get(reply.feature)
    waiting.delete(reply.feature)
    if (reply.error === undefined) asked?.resolve(reply.result)
    else asked?.reject(new Error(reply.error))
  })
  const over = (who: string) => (code: number | null) => {
    for (const { reject } of waiting.values()) reject(new Error(`the ${who} ended with ${code}\n${logs()}`))
    waiting.clear()
  }
  void app.exited.then(over('program'))
  const reply = (feature: string) => new Promise<unknown>((resolve, reject) => waiting.set(feature, { resolve, reject }))
  const pair: Pair = {
    appId,
    http: `http://127.0.0.1:${http}`,
    ask: (feature) => {
      const answer = reply(feature)
      app.child.stdin?.write(`${feature}\n`)
      return answer
    },
    exited: sidecar.exited,
    logs,
    kill: () => Promise.all([app.kill(), sidecar.kill()]),
  }
  try {
    const early = sidecar.exited.then((code) => {
      over('sidecar')(code)
      throw new Error(`the sidecar ended with ${code}\n${logs()}`)
    })
    early.catch(() => {})
    await Promise.race([reply('ready'), early, limited(60_000, () => `the program is not ready\n${logs()}`)])
    // A machine that is busy with the other tests may need several times what one try waits for.
    let tries = 3
    while (!(await becomesReady(`${pair.http}/v1.0/healthz`))) if (--tries === 0) throw new Error(`the sidecar is not ready\n${logs()}`)
    return pair
  } catch (error) {
    await pair.kill()
    throw error
  }
}

/** Fills the YAML of test/sdk/resources in, and makes what it names; gives the folder with the YAML. */
function layOut(folder: string, names: Readonly<Record<string, string>>): string {
  for (const name of ['resources', 'keys', 'files']) mkdirSync(join(folder, name))
  for (const file of globSync(join(import.meta.dirname, 'resources', '*.yaml'))) {
    const text = Object.entries(names).reduce((all, [name, value]) => all.replaceAll(name, value), readFileSync(file, 'utf8'))
    writeFileSync(join(folder, 'resources', basename(file)), text)
  }
  writeFileSync(join(folder, 'config.yaml'), configuration(join(folder, 'names.db')))
  writeFileSync(join(folder, 'secrets.json'), JSON.stringify({ password: 'open sesame', other: 'another' }))
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  writeFileSync(join(folder, 'keys', 'rsa.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  return join(folder, 'resources')
}

/** Sidecars find each other by a file that only they share, so that tests beside this one are not asked. */
function configuration(names: string): string {
  const nameResolution = { component: 'sqlite', version: 'v1', configuration: { connectionString: names } }
  return JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Configuration', metadata: { name: 'config' }, spec: { nameResolution } })
}

/** Processes still running when the test process goes away are ended with it. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

function start(command: string, args: readonly string[], options: { cwd: string; env: NodeJS.ProcessEnv }) {
  const child = spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] })
  running.add(child)
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part: Buffer) => {
      log = (log + part.toString()).slice(-LOG_LIMIT)
    })
  }
  // A program that is gone is reported by its exit, not by the pipe to it.
  child.stdin.on('error', () => {})
  const exited = new Promise<number | null>((resolve) => {
    const gone = (code: number | null) => {
      running.delete(child)
      resolve(code)
    }
    child.once('exit', gone)
    child.once('error', (error) => {
      log += error.message
      gone(null)
    })
  })
  const kill = () => {
    if (running.has(child)) child.kill('SIGKILL')
    return exited
  }
  return { child, exited, kill, log: () => log }
}

function limited(milliseconds: number, message: () => string): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message())), milliseconds).unref()
  })
}
