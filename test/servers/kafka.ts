import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'kafka')
const jars = join(folder, 'target', 'lib')

/** Brings Kafka's jars from Maven Central, once. */
export function installKafka(): void {
  if (existsSync(jars)) return
  execFileSync('mvn', ['--quiet', '--batch-mode', 'dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${jars}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** Kafka 4 alone, broker and controller in one (KRaft); topics come into being when they are named. */
export const kafka: ServerKind = {
  name: 'Kafka',
  variable: 'OUTRIDER_TEST_KAFKA',
  form: 'host:port',
  wants: 'its jars with Java and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(jars) && findBinary('java', []) !== undefined,
  async start() {
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
    }
    const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`)
    writeFileSync(file, lines.join(''))
    const java = findBinary('java', []) as string
    const flags = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', join(jars, '*')]
    try {
      execFileSync(java, [...flags, 'kafka.tools.StorageTool', 'format', '-t', 'AAAAAAAAAAAAAAAAAAAAAA', '-c', file], { stdio: 'ignore' })
    } catch (error) {
      rmSync(directory, { recursive: true, force: true })
      throw new Error(`kafka.tools.StorageTool failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    const child = spawn(java, [...flags, 'kafka.Kafka', file], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    await announced(child, /Kafka Server started/, 'kafka', directory)
    return { address: broker, stop: () => end(child, 'SIGTERM', directory) }
  },
}
