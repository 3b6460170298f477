import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'mongodb')
const jars = join(folder, 'target', 'lib')

/** Brings mongo-java-server's jars from Maven Central, once. */
export async function installMongodb(): Promise<void> {
  if (existsSync(jars)) return
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${jars}`]
  await promisify(execFile)('mvn', ['--quiet', '--batch-mode', ...goal], { cwd: folder })
}

/** mongo-java-server, a stand-in for one MongoDB, in memory: without users, replica sets and so transactions. */
export const mongodb: ServerKind = {
  name: 'mongo-java-server (MongoDB)',
  variable: 'OUTRIDER_TEST_MONGODB',
  form: 'mongodb://host:port',
  wants: 'its jars with a JDK and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(jars) && findBinary('java', []) !== undefined && findBinary('javac', []) !== undefined,
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-mongodb-'))
    const port = await freePort()
    const flags = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', join(jars, '*')]
    const child = spawn(findBinary('java', []) as string, [...flags, join(folder, 'Serve.java'), String(port)], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await announced(child, /listening on/, 'mongo-java-server', directory)
    return { address: `mongodb://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
