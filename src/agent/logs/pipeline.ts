import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '../../errors.ts'
import type { RoleResource } from '../../resources/role-kinds.ts'
import { pause } from '../../waiting.ts'
import type { AgentRoute, Role, RoleContext } from '../role.ts'
import type { Positions } from './buffer/chunk.ts'
import { LogBuffer } from './buffer/log-buffer.ts'
import { DeadLetters } from './dead-letters.ts'
import type { LogEvent } from './event.ts'
import { Counts } from './figures.ts'
import { type Filter, filterOf } from './filters/filter.ts'
import type { Intake } from './intake.ts'
import { Delivery } from './outputs/delivery.ts'
import { kindOfOutput, openSink } from './outputs/open.ts'
import type { Refusal } from './outputs/sink.ts'
import { kindOfSource, type OpenedSource, openSource } from './sources/open.ts'
import type { LogPipelineSpec } from './spec.ts'
import { tagMatcher } from './tags.ts'
import { bytesOf, milliseconds } from './values.ts'

/** For what is in the buffer to be delivered when the pipeline closes, milliseconds; the rest stays there. */
const GRACE = 3000
const RETRY = 1000
const Mi = 1 << 20

/**
 * sources → filters → buffer on disk → outputs, each output at its own pace. A source hears that it may forget events when they
 * are in the buffer; the buffer lets go of them when every output has them, or has refused them and the dead letters have them.
 */
export class LogPipeline implements Role {
  readonly #name: string
  readonly #context: RoleContext
  readonly #buffer: LogBuffer
  readonly #deadLetters: DeadLetters
  readonly #filters: readonly Filter[]
  readonly #counts = new Counts()
  readonly #deliveries: Delivery[] = []
  readonly #sources = new Map<string, OpenedSource>()
  readonly #stop = new AbortController()
  /** What is away, by name. */
  readonly #troubles = new Map<string, unknown>()

  private constructor(name: string, context: RoleContext, buffer: LogBuffer, deadLetters: DeadLetters, spec: LogPipelineSpec) {
    this.#name = name
    this.#context = context
    this.#buffer = buffer
    this.#deadLetters = deadLetters
    this.#filters = (spec.filters ?? []).map((filter) =>
      filterOf(filter, { env: context.env, unparsed: (count) => this.#counts.add('unparsed', 'filter', count) }),
    )
  }

  /** Resolves when all sources take in. Rejects with what keeps one from it, or with what makes no sense in the spec. */
  static async open(resource: RoleResource, context: RoleContext): Promise<LogPipeline> {
    const spec = await wholeSpec(resource, context)
    const folder = context.dataDir()
    const maxBytes = bytesOf(spec.buffer?.maxBytes, 256 * Mi)
    const id = await idOf(folder)
    let report = (_error: unknown): void => undefined
    const buffer = await LogBuffer.open({
      folder: join(folder, 'buffer'),
      maxBytes,
      segmentBytes: bytesOf(spec.buffer?.segmentBytes, Math.min(16 * Mi, Math.ceil(maxBytes / 8))),
      flush: spec.buffer?.synchronous === 'full',
      log: context.log,
      report: (error) => report(error),
    })
    let pipeline: LogPipeline | undefined
    try {
      const deadLetters = new DeadLetters({
        folder: spec.deadLetter?.folder ?? join(folder, 'dead-letters'),
        maxBytes: bytesOf(spec.deadLetter?.maxBytes, 256 * Mi),
      })
      pipeline = new LogPipeline(resource.name, context, buffer, deadLetters, spec)
      report = pipeline.#reporter('buffer')
      await pipeline.#openOutputs(spec, id)
      await pipeline.#openSources(spec)
      return pipeline
    } catch (error) {
      if (pipeline) await pipeline.#close(0)
      else await buffer[Symbol.asyncDispose]()
      throw error
    }
  }

  async #openOutputs({ outputs = [] }: LogPipelineSpec, id: string): Promise<void> {
    const names = new Names()
    for (const spec of outputs) {
      const kind = kindOfOutput(spec)
      const name = names.of(spec.name, kind)
      const sink = await openSink(spec, `output ${name}`, this.#context, id)
      const wanted = tagMatcher(spec.match)
      const unwanted = spec.except === undefined ? undefined : tagMatcher(spec.except)
      this.#deliveries.push(
        new Delivery({
          name,
          sink,
          reader: this.#buffer.reader(name),
          written: this.#buffer.written,
          wanted: unwanted ? (tag) => wanted(tag) && !unwanted(tag) : wanted,
          batch: {
            maxEvents: spec.batch?.maxEvents ?? 1000,
            maxBytes: bytesOf(spec.batch?.maxBytes, 256 * 1024),
            flushInterval: milliseconds(spec.batch?.flushInterval, kind === 'stdout' ? 50 : 1000),
          },
          retry: {
            initial: milliseconds(spec.retry?.initial, 500),
            max: milliseconds(spec.retry?.max, 30_000),
            attempts: spec.retry?.attempts ?? Number.POSITIVE_INFINITY,
          },
          deadLetters: this.#deadLetters,
          log: this.#context.log,
          report: this.#reporter(`output ${name}`),
        }),
      )
    }
  }

  async #openSources({ sources = [] }: LogPipelineSpec): Promise<void> {
    const names = new Names()
    for (const spec of sources) {
      const name = names.of(spec.name, kindOfSource(spec))
      this.#sources.set(name, await openSource(spec, name, this.#intakeOf(name), this.#context))
    }
  }

  #intakeOf(name: string): Intake {
    const buffer = this.#buffer
    return {
      take: (events, positions) => this.#take(name, events, positions),
      get full() {
        return buffer.full
      },
      room: (signal) => buffer.room(signal),
      dropped: (count) => this.#counts.add('dropped', name, count),
      unparsed: (count) => this.#counts.add('unparsed', name, count),
      positions: () => buffer.positions,
      log: this.#context.log,
    }
  }

  async #take(source: string, events: readonly LogEvent[], positions: Positions | undefined): Promise<void> {
    this.#counts.add('received', source, events.length)
    let kept = events
    if (this.#filters.length > 0) {
      const refusals: Refusal[] = []
      kept = events.filter((event) => this.#stays(event, refusals))
      this.#counts.add('filtered', source, events.length - kept.length - refusals.length)
      if (refusals.length > 0) await this.#bury(refusals)
    }
    if (kept.length > 0 || positions !== undefined) await this.#buffer.append(kept, positions)
  }

  #stays(event: LogEvent, refusals: Refusal[]): boolean {
    for (const filter of this.#filters) {
      const verdict = filter(event)
      if (verdict === 'keep') continue
      if (verdict !== 'leave') refusals.push({ event, reason: verdict.refused })
      return false
    }
    return true
  }

  /** Waits until the dead letters have them: their source waits too. */
  async #bury(refusals: readonly Refusal[]): Promise<void> {
    const report = this.#reporter('dead letters')
    for (;;) {
      try {
        await this.#deadLetters.keep('filters', refusals)
        return report(undefined)
      } catch (error) {
        report(error)
        await pause(RETRY, this.#stop.signal)
        if (this.#stop.signal.aborted) throw error
      }
    }
  }

  #reporter(what: string): (error: unknown) => void {
    return (error) => {
      const before = this.#troubles.size
      if (error === undefined) this.#troubles.delete(what)
      else this.#troubles.set(what, error)
      const [first] = this.#troubles
      if (first) this.#context.report('retrying', new Error(`${first[0]}: ${messageOf(first[1])}`))
      else if (before > 0) this.#context.report('up')
    }
  }

  get routes(): readonly AgentRoute[] | undefined {
    const routes = [...this.#sources.values()].flatMap((opened) => opened.routes)
    return routes.length > 0 ? routes : undefined
  }

  metrics(): string {
    return this.#counts.text(this.#name, {
      deliveries: this.#deliveries,
      bufferBytes: this.#buffer.bytes,
      deadLetters: this.#deadLetters.count,
    })
  }

  status() {
    return {
      buffer: { bytes: this.#buffer.bytes, full: this.#buffer.full },
      sources: Object.fromEntries(
        [...this.#sources].map(([name, { source, port }]) => [name, { ...(port !== undefined && { port }), ...source.status?.() }]),
      ),
      outputs: Object.fromEntries(
        this.#deliveries.map((delivery) => [
          delivery.name,
          { delivered: delivery.delivered, ...(delivery.failing !== undefined && { failing: delivery.failing }) },
        ]),
      ),
      deadLetters: this.#deadLetters.count,
    }
  }

  async #close(grace: number): Promise<void> {
    // A source that waits for room in the dead letters waits no longer.
    const late = setTimeout(() => this.#stop.abort(), grace)
    await Promise.all([...this.#sources.values()].map(({ source }) => source[Symbol.asyncDispose]()))
    clearTimeout(late)
    this.#stop.abort()
    await Promise.all(this.#deliveries.map((delivery) => delivery.drain(grace)))
    await Promise.all(this.#deliveries.map((delivery) => delivery[Symbol.asyncDispose]()))
    await this.#buffer[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close(GRACE)
  }
}

/** Names that are given, and for the others the kind, numbered. */
class Names {
  readonly #counts = new Map<string, number>()

  of(given: string | undefined, kind: string): string {
    if (given !== undefined) return given
    const count = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, count)
    return `${kind}-${count}`
  }
}

/** What Fluentd's configuration says, and then what the spec says. */
async function wholeSpec({ spec, source }: RoleResource, context: RoleContext): Promise<LogPipelineSpec> {
  const given = spec as LogPipelineSpec
  if (!given.fluentd) return given
  const { readFluentd } = await import('./fluentd/read.ts')
  const more = await readFluentd(given.fluentd, { folder: dirname(source.file), resource: source.file, env: context.env, log: context.log })
  return {
    ...given,
    ...(more.maxBytes !== undefined && { buffer: { maxBytes: more.maxBytes, ...given.buffer } }),
    sources: [...more.sources, ...(given.sources ?? [])],
    filters: [...more.filters, ...(given.filters ?? [])],
    outputs: [...more.outputs, ...(given.outputs ?? [])],
  }
}

/** Of this buffer alone, so that ids of events are those of no other pipeline. */
async function idOf(folder: string): Promise<string> {
  const path = join(folder, 'id')
  const known = await readFile(path, 'utf8').catch(() => '')
  if (/^[0-9a-f]{16}$/.test(known)) return known
  const id = randomBytes(8).toString('hex')
  await writeFile(path, id, { mode: 0o600 })
  return id
}
