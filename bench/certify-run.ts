import { existsSync, readFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { SidecarProcess } from '../test/sidecar.ts'
import { pause, until } from './certify-server.ts'

const RATE = 100
const BEFORE = 2_000
const AFTER = 10_000
const WARM_UP = 10_000
/** How long after the last publish a delivery may come before the event counts as lost: longer than any redelivery time. */
const PATIENCE = 75_000
/** Redeliveries that are still under way are counted too. */
const SETTLE = 3_000

/** What became of one cut; times in seconds, memory in MiB. */
export interface RunResult {
  driver: string
  cut: string
  sent: number
  acknowledged: number
  failed: number
  /** Longest wait for an answer while the server was away or after. */
  longest: number
  /** The answer that most failed requests got. */
  error: string
  lost: number
  duplicated: number
  /** From the server's return to the first request that it acknowledged. */
  back: number
  /** From the server's return to the first event at the app. */
  delivered: number | undefined
  /** From the server's return until nothing that had been acknowledged before it was missing. */
  complete: number | undefined
  /** From the begin of the cut until health named the component; undefined when it never did. */
  told: number | undefined
  /** From the server's return until health was well again. */
  well: number | undefined
  rss: [before: number, most: number, after: number]
}

export interface EventsApp {
  port: number
  /** Times at which each event came. */
  events: Map<number, number[]>
  close(): Promise<void>
}

export async function startEventsApp(): Promise<EventsApp> {
  const events = new Map<number, number[]>()
  const server = createServer((incoming, response) => {
    if (incoming.url === '/dapr/subscribe') {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify([{ pubsubname: 'target', topic: 'events', route: '/events' }]))
      return
    }
    let text = ''
    incoming.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    incoming.on('end', () => {
      if (incoming.url === '/events') {
        const number = Number((JSON.parse(text) as { data: unknown }).data)
        const times = events.get(number)
        if (times) times.push(performance.now())
        else events.set(number, [performance.now()])
      }
      response.end()
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    events,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Sent {
  number: number
  began: number
  ended?: number
  status?: number
  text?: string
}

const agent = new Agent({ keepAlive: true })

/** A sidecar under load: the same one comes through cut after cut. */
export class Run {
  readonly #driver: string
  readonly #sidecar: Pick<SidecarProcess, 'http' | 'pid'>
  readonly #app: EventsApp | undefined
  #next = 1

  constructor(driver: string, sidecar: Pick<SidecarProcess, 'http' | 'pid'>, app: EventsApp | undefined) {
    this.#driver = driver
    this.#sidecar = sidecar
    this.#app = app
  }

  /** Until the code is compiled and the heap has the size it works with. */
  async warmUp(milliseconds = WARM_UP): Promise<void> {
    const load = this.#load()
    await pause(milliseconds)
    await load.stop()
  }

  async through(cut: {
    name: string
    seconds: number
    forgets?: boolean
    before?(): Promise<void>
    begin(): unknown
    end(): unknown
    after?: number
  }): Promise<RunResult> {
    if (cut.before) {
      await cut.before()
      await pause(BEFORE + SETTLE)
    }
    const load = this.#load()
    await pause(BEFORE)
    const before = this.#rss()
    const watch = this.#watch()
    const gone = performance.now()
    await cut.begin()
    await pause(cut.seconds * 1000)
    await cut.end()
    const back = performance.now()
    await pause(cut.after ?? AFTER)
    const sent = await load.stop()
    using _watch = { [Symbol.dispose]: () => void watch.stop() }
    const acknowledged = sent.filter(({ status }) => status === 204)
    const failed = sent.filter(({ status }) => status !== 204)
    const events = this.#app?.events
    const lost = events
      ? await this.#undelivered(acknowledged.map(({ number }) => number))
      : await this.#unread(acknowledged.map(({ number }) => number))
    await until(() => watch.state.well !== undefined || watch.state.told === undefined, 10_000)
    const { told, well, most } = watch.stop()
    const deliveries = sent.map(({ number }) => events?.get(number) ?? [])
    const times = deliveries.flat().filter((time) => time > back)
    const early = acknowledged.filter(({ ended }) => (ended as number) < back).map(({ number }) => events?.get(number)?.[0] ?? back)
    const first = Math.min(...acknowledged.map(({ ended }) => ended as number).filter((time) => time > back))
    const result: RunResult = {
      driver: this.#driver,
      cut: cut.name,
      sent: sent.length,
      acknowledged: acknowledged.length,
      failed: failed.length,
      longest: round(
        Math.max(...sent.filter(({ ended }) => (ended as number) > gone).map(({ began, ended }) => (ended as number) - began)),
      ),
      error: commonest(failed.map(({ status, text }) => `${status}: ${text}`)),
      lost: cut.forgets ? lost.filter((number) => (sent.find((one) => one.number === number)?.ended as number) > back).length : lost.length,
      duplicated: deliveries.filter(({ length }) => length > 1).length,
      back: round(first - back),
      delivered: events && round(Math.min(...times) - back),
      complete: events && round(Math.max(0, ...early.map((time) => time - back))),
      told: told === undefined ? undefined : round(told - gone),
      well: well === undefined ? undefined : round(well - back),
      rss: [before, most, this.#rss()],
    }
    events?.clear()
    return result
  }

  /** Requests at an even rate, however long the answers take. */
  #load(): { stop(): Promise<Sent[]> } {
    const sent: Sent[] = []
    const open = new Set<Promise<void>>()
    const began = performance.now()
    const timer = setInterval(() => {
      while (sent.length < ((performance.now() - began) / 1000) * RATE) {
        const one: Sent = { number: this.#next++, began: performance.now() }
        sent.push(one)
        const done = this.#send(one).finally(() => open.delete(done))
        open.add(done)
      }
    }, 5)
    return {
      stop: async () => {
        clearInterval(timer)
        await Promise.all(open)
        return sent
      },
    }
  }

  async #send(one: Sent): Promise<void> {
    const [path, body] = this.#app
      ? ['/v1.0/publish/target/events', String(one.number)]
      : ['/v1.0/state/target', JSON.stringify([{ key: `k${one.number}`, value: one.number }])]
    const { status, text } = await this.#call(path, body).catch((error: Error) => ({ status: 0, text: error.message }))
    one.ended = performance.now()
    one.status = status
    one.text = text
  }

  #call(path: string, body?: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const outgoing = request(this.#sidecar.http + path, { method: body === undefined ? 'GET' : 'POST', agent, headers }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        response.on('end', () => resolve({ status: response.statusCode as number, text }))
        response.on('error', reject)
      })
      outgoing.setTimeout(120_000, () => outgoing.destroy(new Error('no answer in 120 s')))
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  async #undelivered(numbers: readonly number[]): Promise<number[]> {
    const { events } = this.#app as EventsApp
    let missing = numbers
    await until(() => {
      missing = missing.filter((number) => !events.has(number))
      return missing.length === 0
    }, PATIENCE)
    await pause(SETTLE)
    return [...missing]
  }

  async #unread(numbers: readonly number[]): Promise<number[]> {
    const missing: number[] = []
    for (let at = 0; at < numbers.length; at += 200) {
      const part = numbers.slice(at, at + 200)
      const found = await this.#read(part)
      missing.push(...part.filter((number) => found.get(`k${number}`) !== number))
    }
    return missing
  }

  /** What could not be read is not lost: it is asked for again. */
  async #read(numbers: readonly number[]): Promise<Map<string, unknown>> {
    const keys = JSON.stringify({ keys: numbers.map((number) => `k${number}`) })
    for (const end = performance.now() + PATIENCE; ; await pause(500)) {
      const { status, text } = await this.#call('/v1.0/state/target/bulk', keys)
      const items = status === 200 ? (JSON.parse(text) as { key: string; data?: unknown; error?: string }[]) : []
      if (status === 200 && items.every(({ error }) => !error)) return new Map(items.map(({ key, data }) => [key, data]))
      if (performance.now() > end) throw new Error(`reading back: ${status} ${text.slice(0, 500)}`)
    }
  }

  /** Health and memory, four times a second. */
  #watch() {
    const state: { told?: number; well?: number; most: number } = { most: this.#rss() }
    const look = async () => {
      if (!existsSync(`/proc/${this.#sidecar.pid}`)) return
      state.most = Math.max(state.most, this.#rss())
      const { text } = await this.#call('/v1.0/healthz?verbose').catch(() => ({ text: '{}' }))
      // daprd answers nothing.
      const { parts = [] } = JSON.parse(text || '{}') as { parts?: { kind: string; name: string; state: string }[] }
      const part = parts.find(({ kind, name }) => kind === 'component' && name === 'target')
      if (part === undefined) return
      if (part.state !== 'up') {
        state.told ??= performance.now()
        delete state.well
      } else if (state.told !== undefined) state.well ??= performance.now()
    }
    const timer = setInterval(() => void look(), 250)
    return {
      state,
      stop() {
        clearInterval(timer)
        return { told: state.told, well: state.well, most: state.most }
      },
    }
  }

  #rss(): number {
    const status = readFileSync(`/proc/${this.#sidecar.pid}/status`, 'utf8')
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
  }
}

function round(ms: number): number {
  return Math.round(ms / 10) / 100
}

function commonest(texts: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0].slice(0, 400) ?? ''
}
