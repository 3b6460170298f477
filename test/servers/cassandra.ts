import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'cassandra')
const jars = join(folder, 'target', 'lib')

/** Brings Cassandra's jars from Maven Central, once. */
export async function installCassandra(): Promise<void> {
  if (existsSync(jars)) return
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${jars}`]
  await promisify(execFile)('mvn', ['--quiet', '--batch-mode', ...goal], { cwd: folder })
}

/** What Cassandra reaches into of its virtual machine, as its own start script allows. */
const EXPORTS = ['java.base/jdk.internal.misc', 'java.base/jdk.internal.ref', 'java.base/sun.nio.ch', 'java.rmi/sun.rmi.registry']
const OPENS = [
  'java.base/java.io',
  'java.base/java.lang',
  'java.base/java.lang.module',
  'java.base/java.nio',
  'java.base/java.util',
  'java.base/java.util.concurrent',
  'java.base/java.util.concurrent.atomic',
  'java.base/jdk.internal.loader',
  'java.base/jdk.internal.math',
  'java.base/jdk.internal.module',
  'java.base/jdk.internal.ref',
  'java.base/jdk.internal.reflect',
  'java.base/jdk.internal.util.jar',
  'java.base/sun.nio.ch',
  'jdk.management/com.sun.management.internal',
]

/** Starts a node that is a cluster by itself. `lines`: more of cassandra.yaml. */
export async function startCassandra(...lines: string[]): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-cassandra-'))
  const [port, storage] = [await freePort(), await freePort()]
  const yaml = [
    'cluster_name: tests',
    'num_tokens: 1',
    'partitioner: org.apache.cassandra.dht.Murmur3Partitioner',
    'endpoint_snitch: SimpleSnitch',
    'commitlog_sync: periodic',
    'commitlog_sync_period: 10000ms',
    'commitlog_segment_size: 16MiB',
    ...['commitlog', 'hints', 'saved_caches'].map((name) => `${name}_directory: ${join(directory, name)}`),
    `data_file_directories: [${join(directory, 'data')}]`,
    'listen_address: 127.0.0.1',
    `storage_port: ${storage}`,
    'rpc_address: 127.0.0.1',
    `native_transport_port: ${port}`,
    'file_cache_size: 16MiB',
    'memtable_allocation_type: heap_buffers',
    'key_cache_size: 0MiB',
    'auto_snapshot: false',
    `seed_provider: [{ class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{ seeds: "127.0.0.1:${storage}" }] }]`,
    ...lines,
  ]
  const config = join(directory, 'cassandra.yaml')
  writeFileSync(config, `${yaml.join('\n')}\n`)
  const flags = [
    ...['-Xms128m', '-Xmx256m', '-XX:MaxDirectMemorySize=128m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'],
    '-Djdk.attach.allowAttachSelf=true',
    ...EXPORTS.flatMap((name) => ['--add-exports', `${name}=ALL-UNNAMED`]),
    ...OPENS.flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`]),
    `-Dcassandra.config=file://${config}`,
    `-Dcassandra.storagedir=${directory}`,
    `-Dlogback.configurationFile=${join(folder, 'logback.xml')}`,
    // Nobody else is there to be waited for.
    ...['ring_delay_ms=0', 'skip_wait_for_gossip_to_settle=0', 'superuser_setup_delay_ms=0'].map((set) => `-Dcassandra.${set}`),
    '-Dcassandra-foreground=yes',
  ]
  const child = spawn(
    findBinary('java', []) as string,
    [...flags, '-cp', join(jars, '*'), 'org.apache.cassandra.service.CassandraDaemon'],
    {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  await announced(child, /Startup complete/, 'cassandra', directory)
  return { address: `127.0.0.1:${port}`, stop: () => end(child, 'SIGKILL', directory) }
}

/** Cassandra 5 for the tests of all files. */
export const cassandra: ServerKind = {
  name: 'Cassandra',
  variable: 'OUTRIDER_TEST_CASSANDRA',
  form: 'host:port',
  wants: 'its jars with Java and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(jars) && findBinary('java', []) !== undefined,
  start: () => startCassandra(),
}
