import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'kafka')
const jars = join(folder, 'target', 'lib')

/** Brings Kafka's jars from Maven Central, once. */
export async function installKafka(): Promise<void> {
  if (existsSync(jars)) return
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${jars}`]
  await promisify(execFile)('mvn', ['--quiet', '--batch-mode', ...goal], { cwd: folder })
}

/** A Kafka that belongs to a test alone. */
export interface OwnKafka extends RunningServer {
  /** e.g. SIGSTOP and SIGCONT: it hangs, and goes on. */
  signal(signal: NodeJS.Signals): void
  kill(): Promise<void>
  /** `kafka-configs` with these arguments and the address `at` of a listener that asks for no login. */
  configure(at: string, ...args: string[]): Promise<void>
  /** Starts it again after `kill`, with the same data at the same address. */
  restart(): Promise<void>
}

export interface KafkaSettings {
  /** Lines of server.properties, beside or instead of ours; `{address}` stands for the address of the brokers' listener. */
  settings?: Readonly<Record<string, string>>
  /** More arguments of the storage tool's format, e.g. `--add-scram`. */
  format?: readonly string[]
}

/** Starts Kafka 4 alone, broker and controller in one (KRaft); topics come into being when they are named. */
export async function startKafka({ settings: own = {}, format = [] }: KafkaSettings = {}): Promise<OwnKafka> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-kafka-'))
  const [broker, controller] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const file = join(directory, 'server.properties')
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@${controller}`,
    listeners: `PLAINTEXT://${broker},CONTROLLER://${controller}`,
    'advertised.listeners': `PLAINTEXT://${broker}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(directory, 'data'),
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    'log.cleaner.enable': false,
    ...own,
  }
  const lines = Object.entries(settings).map(
    ([key, value]) => `${key}=${String(value).replaceAll('{address}', broker).replaceAll('{controller}', controller)}\n`,
  )
  writeFileSync(file, lines.join(''))
  const java = findBinary('java', []) as string
  const flags = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', join(jars, '*')]
  try {
    const tool = ['kafka.tools.StorageTool', 'format', '-t', 'AAAAAAAAAAAAAAAAAAAAAA', '-c', file, ...format]
    execFileSync(java, [...flags, ...tool], { stdio: 'ignore' })
  } catch (error) {
    rmSync(directory, { recursive: true, force: true })
    throw new Error(`kafka.tools.StorageTool failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
  const run = async (): Promise<ChildProcess> => {
    const child = spawn(java, [...flags, 'kafka.Kafka', file], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    await announced(child, /Kafka Server started/, 'kafka', directory)
    return child
  }
  let child = await run()
  return {
    address: broker,
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.ref()
      child.kill('SIGKILL')
      await gone
    },
    async configure(at, ...args) {
      await promisify(execFile)(java, [...flags, 'kafka.admin.ConfigCommand', '--bootstrap-server', at, ...args])
    },
    restart: async () => {
      child = await run()
    },
    stop: () => end(child, 'SIGTERM', directory),
  }
}

/** Kafka for the tests of all files. */
export const kafka: ServerKind = {
  name: 'Kafka',
  variable: 'OUTRIDER_TEST_KAFKA',
  form: 'host:port',
  wants: 'its jars with Java and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(jars) && findBinary('java', []) !== undefined,
  start: () => startKafka(),
}
