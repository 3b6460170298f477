/** What the tests of logs share: a pipeline in a folder of its own, as its document says it, and a server that writes down what comes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { loadResources } from '../../resources/load.ts'
import type { RoleResource } from '../../resources/role-kinds.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { RoleComponents, RoleContext } from '../role.ts'
import { LogPipeline } from './pipeline.ts'
import type { LogPipelineSpec } from './spec.ts'

/** A folder that goes with the test. */
export function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-logs-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The resource of a spec, through YAML reader, schema and check; fails with their complaint. */
export async function resourceOf(spec: LogPipelineSpec, folder: string): Promise<RoleResource> {
  const path = join(folder, `pipeline-${process.hrtime.bigint()}`)
  mkdirSync(path)
  writeFileSync(
    join(path, 'pipeline.yaml'),
    JSON.stringify({ apiVersion: 'outrider.dev/v1', kind: 'LogPipeline', metadata: { name: 'test' }, spec }),
  )
  const complaints: string[] = []
  const log = createLogger({ level: 'warning', json: false, appId: 'logs-test', version: '', write: (line) => complaints.push(line) })
  const { roles } = await loadResources({ paths: [path], appId: 'logs-test', namespace: '', log })
  assert.ok(roles[0], complaints.join('\n') || 'the document is no role')
  return roles[0]
}

export interface TestPipeline {
  pipeline: LogPipeline
  /** Lines of its log. */
  said: string[]
  /** What it reported, e.g. `retrying: output http-1: …` or `up`. */
  reports: string[]
  status(): Status
  close(): Promise<void>
}

export interface Status {
  buffer: { bytes: number; full: boolean }
  sources: Record<string, { port?: number; files?: number; behind?: number }>
  outputs: Record<string, { delivered: number; failing?: string }>
  deadLetters: number
}

/** Opens a pipeline; `folder` keeps its buffer and positions. It is closed with the test at the latest. */
export async function openPipeline(
  t: TestContext,
  folder: string,
  spec: LogPipelineSpec,
  more: { components?: Partial<RoleComponents>; env?: NodeJS.ProcessEnv } = {},
): Promise<TestPipeline> {
  const said: string[] = []
  const reports: string[] = []
  const stop = new AbortController()
  const context: RoleContext = {
    log: createLogger({ level: 'info', json: false, appId: 'logs-test', version: '', write: (line) => said.push(line) }),
    appId: 'logs-test',
    namespace: '',
    dataDir() {
      mkdirSync(join(folder, 'data'), { recursive: true })
      return join(folder, 'data')
    },
    env: more.env ?? {},
    components: (more.components ?? {}) as RoleComponents,
    api: undefined,
    signal: stop.signal,
    page: () => '',
    report: (state, error) => void reports.push(error === undefined ? state : `${state}: ${(error as Error).message}`),
  }
  const pipeline = await LogPipeline.open(await resourceOf(spec, folder), context)
  let closed: Promise<void> | undefined
  const close = () => {
    stop.abort()
    closed ??= pipeline[Symbol.asyncDispose]()
    return closed
  }
  t.after(close)
  return { pipeline, said, reports, status: () => pipeline.status() as Status, close }
}

export interface Request {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: string
  bytes: Buffer
}

export interface TestServer {
  port: number
  url: string
  requests: Request[]
}

/** An HTTP server; `answer` may say what is answered, in place of 200. */
export async function startServer(
  t: TestContext,
  answer: (request: Request, response: ServerResponse) => void = (_, response) => void response.end('{}'),
): Promise<TestServer> {
  const requests: Request[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const whole = Buffer.concat(chunks)
    const bytes = request.headers['content-encoding'] === 'gzip' ? gunzipSync(whole) : whole
    const seen = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: bytes.toString(), bytes }
    requests.push(seen)
    answer(seen, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return { port, url: `http://127.0.0.1:${port}`, requests }
}

/** Resolves when it holds; looks again all the time, and fails after 10 s with what `describe` says. */
export async function until(holds: () => boolean, describe: () => string = () => 'it does not come'): Promise<void> {
  const end = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > end) assert.fail(describe())
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
