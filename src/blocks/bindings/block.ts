import type { AppChannel } from '../../app/channel.ts'
import { type ComponentSet, type Named, WAITING_HINT } from '../../components/sets.ts'
import { Code, errorInfo, messageOf, OutriderError } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import { type Around, once } from '../around.ts'
import { type BindingsApp, type EventAnswer, httpBindingsApp, SoftFailure } from './app.ts'
import type { Binding, BindingEvent, BindingRequest, BindingResponse } from './driver.ts'

export interface BindingsOptions {
  components: ComponentSet<Binding>
  /** The app over HTTP, or its gRPC counterpart. Without it input bindings are not started. */
  app?: AppChannel | BindingsApp | undefined
  log: Logger
  around?: Around
  inbound?: Around
  /** Makes a span of each event; absent: nobody traces. */
  tracer?: Tracer | undefined
  /** How long the app may take to answer whether it wants a binding, milliseconds. Default 3000. */
  optionsTimeout?: number
  /** Hears how an input binding is doing. */
  onState?: (name: string, type: string, state: 'initialising' | 'up' | 'failed' | 'closed', why?: { error?: unknown }) => void
}

export interface BindingsBlock {
  /** Calls an output binding; undefined when the component answers nothing. An error may carry the component's answer, see `responseOf`. */
  invoke(name: string, request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse | undefined>
  /** Asks the app about each input binding and feeds it those it wants. Rejects when the app cannot be asked. */
  start(): Promise<void>
  /** The same for one component that came, was replaced or went since; nothing before the start or after the stop of all. */
  restartOne(name: string): Promise<void>
  /** Stops feeding and waits for what the drivers hand back; all, or one component. */
  stop(name?: string): Promise<void>
}

/** Output bindings for the app to call, input bindings that call the app. */
export function createBindingsBlock(options: BindingsOptions): BindingsBlock {
  const around = options.around ?? once
  const inbound = options.inbound ?? once
  const app = options.app && ('wants' in options.app ? options.app : httpBindingsApp(options.app))
  const readers = new Map<string, AsyncDisposable>()
  let running = false

  const invoke: BindingsBlock['invoke'] = async (name, request, signal) => {
    try {
      if (!request.operation) throw new Error('operation field is missing from request')
      const component = outputOf(options.components.get(name))
      if (!component) {
        const waiting = options.components.waiting?.(name)
        throw new Error(`couldn't find output binding ${name}${waiting === undefined ? '' : `: ${waiting}`}`)
      }
      if (!component.operations.includes(request.operation)) {
        throw new Error(
          `binding ${name} does not support operation ${request.operation}. supported operations:${component.operations.join(' ')}`,
        )
      }
      return await around(name, request.operation, (inner) => component.invoke(request, inner), signal)
    } catch (error) {
      throw new OutriderError({
        code: 'ERR_INVOKE_OUTPUT_BINDING',
        http: 500,
        grpc: Code.Internal,
        message: `error invoking output binding ${name}: ${messageOf(error)}`,
        hint: hintFor(options.components, name, request.operation),
        details: [errorInfo('ERR_INVOKE_OUTPUT_BINDING')],
        cause: error,
      })
    }
  }

  const passOn = async (answer: EventAnswer) => {
    const send = (name: string) => invoke(name, { operation: 'create', data: jsonOrNull(answer.data), metadata: {} })
    if (answer.parallel) await Promise.all((answer.to ?? []).map(send))
    else for (const name of answer.to ?? []) await send(name)
  }

  const handle = async (target: BindingsApp, name: string, route: string, event: BindingEvent): Promise<Buffer> => {
    let answer: EventAnswer
    try {
      answer = await inbound(
        name,
        'event',
        (signal) => traced(options.tracer, name, event, (step) => target.deliver(name, route, step, signal)),
        undefined,
      )
    } catch (error) {
      // A 2xx other than 200 fails for the retry policy only.
      const soft = softFailureIn(error)
      if (!soft) {
        options.log.error(`error from app consumer for binding [${name}]: ${messageOf(error)}`)
        throw error
      }
      answer = soft.answer
    }
    if (answer.to?.length) {
      await passOn(answer).catch((error: unknown) => {
        options.log.error(`binding ${name}: the app's answer was not passed on: ${messageOf(error)}`)
        throw error
      })
    }
    return answer.data
  }

  const startOne = async (name: string) => {
    const found = options.components.get(name)
    if (!found?.component.read || readers.has(name) || !app || !allows(found, 'input')) return
    try {
      await read(found, app)
    } catch (error) {
      options.onState?.(name, found.type, 'failed', { error })
      throw error
    }
  }

  const read = async (found: Named<Binding>, app: BindingsApp) => {
    const { name } = found
    const route = (found.properties.route || name).replace(/^\/+/, '')
    const explicit = directions(found)?.includes('input') ?? false
    if (!explicit && !(await app.wants(name, route, AbortSignal.timeout(options.optionsTimeout ?? 3000)))) {
      options.log.info(`app has not subscribed to binding ${name}`)
      return
    }
    options.onState?.(name, found.type, 'initialising')
    readers.set(name, await (found.component as Required<Pick<Binding, 'read'>>).read((event) => handle(app, name, route, event)))
    options.onState?.(name, found.type, 'up')
  }

  const stop = async (name?: string) => {
    const ending = [...readers].filter(([reader]) => name === undefined || reader === name)
    for (const [reader] of ending) {
      readers.delete(reader)
      options.onState?.(reader, '', 'closed')
    }
    await Promise.allSettled(ending.map(([, reader]) => reader[Symbol.asyncDispose]()))
  }

  return {
    invoke,
    async restartOne(name) {
      await stop(name)
      if (running) await startOne(name)
    },
    async start() {
      running = true
      if (!app) return
      app.begin?.()
      for (const name of options.components.keys()) {
        try {
          await startOne(name)
        } catch (error) {
          throw new Error(`could not start input binding ${name}: ${messageOf(error)}`, { cause: error })
        }
      }
    },
    stop(name) {
      if (name === undefined) running = false
      return stop(name)
    },
  }
}

async function traced(
  tracer: Tracer | undefined,
  name: string,
  event: BindingEvent,
  deliver: (event: BindingEvent) => Promise<EventAnswer>,
): Promise<EventAnswer> {
  if (!tracer) return deliver(event)
  const span = tracer.start(`bindings/${name}`, 'client', undefined)
  Object.assign(span.attributes, { 'db.system': 'bindings', 'db.name': name, 'rpc.service': 'Dapr' })
  try {
    const answer = await deliver({ ...event, metadata: { ...event.metadata, traceparent: span.traceparent } })
    span.end()
    return answer
  } catch (error) {
    span.end(messageOf(error))
    throw error
  }
}

/** What a component answered although it failed (e.g. the body of an HTTP 500), if the error carries it. */
export function responseOf(error: unknown): BindingResponse | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('response' in at && at.response && typeof at.response === 'object') return at.response
  }
  return undefined
}

type Output = Binding & Required<Pick<Binding, 'operations' | 'invoke'>>

function outputOf(found: Named<Binding> | undefined): Output | undefined {
  return found?.component.invoke && found.component.operations && allows(found, 'output') ? (found.component as Output) : undefined
}

function directions(found: Named<Binding>): string[] | undefined {
  const text = found.properties.direction?.trim().toLowerCase()
  return text ? text.split(',').map((word) => word.trim()) : undefined
}

function allows(found: Named<Binding>, side: 'input' | 'output'): boolean {
  return directions(found)?.includes(side) ?? true
}

function hintFor(components: ComponentSet<Binding>, name: string, operation: string): string {
  if (components.waiting?.(name) !== undefined) return WAITING_HINT
  const outputs = [...components.values()].filter(outputOf)
  const found = outputOf(components.get(name))
  if (!found)
    return outputs.length === 0
      ? 'add a component of a bindings.* type to the resources folder'
      : `output bindings loaded: ${outputs.map((output) => output.name).join(', ')}`
  if (!found.operations.includes(operation)) return `set operation to one of ${found.operations.join(', ')}`
  return 'check the request metadata and that what the binding talks to is reachable'
}

/** Retry layers may wrap the last error; the soft failure is looked for down the causes. */
function softFailureIn(error: unknown): SoftFailure | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof SoftFailure) return at
  return undefined
}

function jsonOrNull(data: Buffer): Buffer {
  try {
    return Buffer.from(JSON.stringify(JSON.parse(data.toString())))
  } catch {
    return Buffer.from('null')
  }
}
