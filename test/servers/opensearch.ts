import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'opensearch')
const built = join(folder, 'target')
const jars = join(built, 'lib', '*')
const complete = join(built, 'OneNode.class')

/** Brings OpenSearch's jars from Maven Central, once, and compiles the program that starts them. */
export async function installOpenSearch(): Promise<void> {
  if (existsSync(complete)) return
  const run = promisify(execFile)
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${join(built, 'lib')}`]
  await run('mvn', ['--quiet', '--batch-mode', ...goal], { cwd: folder })
  await run('javac', ['-nowarn', '-proc:none', '-cp', jars, '-d', built, 'OneNode.java'], { cwd: folder })
}

/** OpenSearch, the server that is Elasticsearch's too but for its name: bulk, search, index templates. */
export const opensearch: ServerKind = {
  name: 'OpenSearch',
  variable: 'OUTRIDER_TEST_OPENSEARCH',
  form: 'http://host:port',
  wants: 'its jars with Java and Maven: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete) && findBinary('java', []) !== undefined,
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-opensearch-'))
    const port = await freePort()
    const flags = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Dlog4j2.level=ERROR', '-cp', `${jars}:${built}`]
    const child = spawn(findBinary('java', []) as string, [...flags, 'OneNode', directory, String(port)], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await announced(child, /OpenSearch is up/, 'opensearch', directory)
    return { address: `http://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
