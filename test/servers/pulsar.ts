import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'pulsar')
const built = join(folder, 'target')
const jars = join(built, 'lib', '*')
const complete = join(built, 'OneBroker.class')

/** Brings Pulsar's jars from Maven Central, once, and compiles the program that starts them. */
export async function installPulsar(): Promise<void> {
  if (existsSync(complete)) return
  const run = promisify(execFile)
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${join(built, 'lib')}`]
  await run('mvn', ['--quiet', '--batch-mode', ...goal], { cwd: folder })
  await run('javac', ['-nowarn', '-proc:none', '-cp', jars, '-d', built, 'OneBroker.java'], { cwd: folder })
}

/** A Pulsar that belongs to a test alone. */
export interface OwnPulsar extends RunningServer {
  /** Its administration, `http://host:port/admin/v2`. */
  admin: string
  /** e.g. SIGSTOP and SIGCONT: it hangs, and goes on. */
  signal(signal: NodeJS.Signals): void
  kill(): Promise<void>
  /** Starts it again after `kill`, with the same data at the same address. */
  restart(): Promise<void>
}

/**
 * Starts broker, bookie and metadata (RocksDB) in one process, without functions; topics come into being when they are named.
 * `settings`: lines of broker.conf, beside or instead of ours; `advertised`: the port that clients are sent to, a proxy's.
 */
export async function startPulsar(settings: Readonly<Record<string, string | number>> = {}, advertised?: number): Promise<OwnPulsar> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-pulsar-'))
  const [port, web] = [await freePort(), await freePort()]
  const file = join(directory, 'standalone.conf')
  const lines = {
    clusterName: 'standalone',
    brokerServicePort: port,
    webServicePort: web,
    bindAddress: '127.0.0.1',
    advertisedAddress: '127.0.0.1',
    managedLedgerDefaultEnsembleSize: 1,
    managedLedgerDefaultWriteQuorum: 1,
    managedLedgerDefaultAckQuorum: 1,
    managedLedgerCacheSizeMB: 16,
    loadBalancerEnabled: false,
    ...(advertised === undefined
      ? {}
      : { advertisedListeners: `proxied:pulsar://127.0.0.1:${advertised}`, internalListenerName: 'proxied' }),
    ...settings,
  }
  writeFileSync(
    file,
    Object.entries(lines)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(''),
  )
  const flags = [
    ...['-Xms64m', '-Xmx256m', '-XX:MaxDirectMemorySize=128m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'],
    `-Dlog4j2.configurationFile=${join(folder, 'log4j2.properties')}`,
    ...['-cp', `${jars}:${built}`, 'OneBroker', '-c', file, '-nfw', '-nss', '-a', '127.0.0.1'],
    ...['--metadata-dir', join(directory, 'metadata'), '--bookkeeper-dir', join(directory, 'bookkeeper')],
  ]
  const run = async (): Promise<ChildProcess> => {
    const child = spawn(findBinary('java', []) as string, flags, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    await announced(child, /Pulsar is up/, 'pulsar', directory)
    return child
  }
  let child = await run()
  return {
    address: `127.0.0.1:${port}`,
    admin: `http://127.0.0.1:${web}/admin/v2`,
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.ref()
      child.kill('SIGKILL')
      await gone
    },
    restart: async () => {
      child = await run()
    },
    stop: () => end(child, 'SIGKILL', directory),
  }
}

/** Pulsar for the tests of all files. */
export const pulsar: ServerKind = {
  name: 'Pulsar',
  variable: 'OUTRIDER_TEST_PULSAR',
  form: 'host:port',
  wants: 'its jars with Java and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete) && findBinary('java', []) !== undefined,
  start: () => startPulsar(),
}
