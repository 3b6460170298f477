import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger } from '../../telemetry/log.ts'
import { AgentPort } from '../port.ts'
import type { OpenRole, Role, RoleComponents, RoleContext } from '../role.ts'

export interface OpenedRole extends AsyncDisposable {
  role: Role
  /** Of the agents' port; without routes it is not open. */
  url: string
  /** Lines of the log. */
  log: string[]
  /** What the role told of itself, the last at the end. */
  reports: { state: string; error: unknown }[]
  folder: string
  /** Resolves with the first value that `look` gives; it is asked whenever something happened, and every 10 ms. */
  until<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T>
}

/** Milliseconds after which what did not happen will not. */
const PATIENCE = 20_000

export interface OpenedOptions {
  components?: Partial<RoleComponents>
  env?: NodeJS.ProcessEnv
  /** Data folder that is kept; default: one of its own. */
  folder?: string
}

/** Opens one role as a process of roles would, with an agents' port of its own. */
export async function openForTest(open: OpenRole, kind: string, spec: object, options: OpenedOptions = {}): Promise<OpenedRole> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'outrider-role-'))
  const log: string[] = []
  const reports: OpenedRole['reports'] = []
  const stop = new AbortController()
  const logger = createLogger({ level: 'debug', json: false, appId: 'shop', version: 'test', write: (line) => log.push(line) })
  const none = (what: string) => () => {
    throw new Error(`there is no ${what} in this test`)
  }
  let role: Role | undefined
  const context: RoleContext = {
    log: logger,
    appId: 'shop',
    namespace: '',
    dataDir: () => folder,
    env: options.env ?? process.env,
    api: undefined,
    components: {
      secretStore: none('secret store'),
      configurationStore: none('configuration store'),
      pubsub: none('pub/sub component'),
      ...options.components,
    },
    signal: stop.signal,
    page: () => role?.metrics?.() ?? '',
    report: (state, error) => void reports.push({ state, error }),
  }
  try {
    role = await open({ kind, name: 'test', namespace: '', scopes: [], source: { file: 'test.yaml', line: 1 }, spec: { ...spec } }, context)
  } catch (error) {
    if (!options.folder) rmSync(folder, { recursive: true, force: true })
    throw error
  }
  const port = role.routes ? new AgentPort({ host: '127.0.0.1', port: 0, log: logger, fallback: role.routes }) : undefined
  await port?.open()
  const opened = role
  return {
    role: opened,
    url: `http://127.0.0.1:${port?.port ?? 0}`,
    log,
    reports,
    folder,
    async until(look) {
      for (const began = performance.now(); ; ) {
        const found = await look()
        if (found !== undefined) return found
        if (performance.now() - began > PATIENCE) throw new Error(`not seen within ${PATIENCE} ms: ${look}`)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await opened[Symbol.asyncDispose]()
      await port?.[Symbol.asyncDispose]()
      if (!options.folder) rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface TestServer extends AsyncDisposable {
  url: string
  requests: { method: string; url: string; headers: Record<string, unknown>; body: string }[]
}

/** A server that notes what it is asked; `reply` gives status and body. */
export async function serveForTest(
  reply: (request: TestServer['requests'][number]) => { status?: number; body?: string; type?: string },
): Promise<TestServer> {
  const requests: TestServer['requests'] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const seen = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks).toString() }
    requests.push(seen)
    const { status = 200, body = '', type = 'text/plain' } = reply(seen)
    response.writeHead(status, { 'content-type': type }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
