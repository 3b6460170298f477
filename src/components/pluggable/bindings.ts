import type { Binding, BindingEvent, BindingRequest, BindingResponse } from '../../blocks/bindings/driver.ts'
import { messageOf } from '../../errors.ts'
import type { ComponentContext } from '../component.ts'
import * as messages from './bindings-messages.ts'
import { Nothing } from './common-messages.ts'
import { Connection } from './connection.ts'
import { LastingStream } from './lasting-stream.ts'

/** Events that may be with the app at once; further ones are held back at the component. */
const CONCURRENCY = 1000

/** Which of the two binding services stand behind a socket. */
export interface BindingServices {
  input: boolean
  output: boolean
}

/** A binding behind a socket: input, output or both, as the socket serves them and `direction` allows. */
export class PluggableBinding implements Binding {
  operations?: readonly string[]
  invoke?: Binding['invoke']
  read?: Binding['read']
  readonly #context: ComponentContext
  readonly #connection: Connection
  readonly #service: string

  constructor(socket: string, services: BindingServices, context: ComponentContext) {
    this.#context = context
    const wanted = directionsOf(context.properties)
    const input = services.input && (wanted?.includes('input') ?? true)
    const output = services.output && (wanted?.includes('output') ?? true)
    this.#service = input ? 'InputBinding' : 'OutputBinding'
    if (input) this.read = this.#read
    if (output) {
      this.operations = []
      this.invoke = this.#invoke
    }
    this.#connection = new Connection({
      socket,
      instance: context.name,
      start: async (connection, signal) => {
        if (input) await connection.init('InputBinding', context.properties, signal)
        if (!output) return
        await connection.init('OutputBinding', context.properties, signal)
        const listed = await connection.direct('OutputBinding/ListOperations', Nothing, messages.ListOperationsResponse, {}, signal)
        this.operations = listed.operations
      },
    })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#connection.ready(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#connection.ping(this.#service, signal)
  }

  async #invoke(request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse | undefined> {
    const { data, metadata, contentType } = await this.#connection.call(
      'OutputBinding/Invoke',
      messages.InvokeRequest,
      messages.InvokeResponse,
      request,
      signal,
    )
    return { data, metadata, contentType: contentType || undefined }
  }

  async #read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    const { log, name } = this.#context
    const refuse = (bytes: Buffer) => {
      const { messageId } = messages.ReadResponse.decode(bytes)
      return messages.ReadRequest.encode({ messageId, responseError: { message: 'input binding is closed' } })
    }
    const stream = new LastingStream({
      connection: this.#connection,
      refuse,
      method: 'InputBinding/Read',
      title: `input binding ${name}`,
      concurrency: CONCURRENCY,
      log,
      async handle(bytes, _signal, ending) {
        const { data, metadata, contentType, messageId } = messages.ReadResponse.decode(bytes)
        try {
          const responseData = await handler({ data, metadata, contentType: contentType || undefined })
          return messages.ReadRequest.encode({ messageId, responseData })
        } catch (error) {
          if (ending()) return undefined
          log.warn(`input binding ${name}: event ${messageId} not handled, it goes back to the component: ${messageOf(error)}`)
          return messages.ReadRequest.encode({ messageId, responseError: { message: messageOf(error) } })
        }
      },
    })
    await stream.open()
    return stream
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#connection[Symbol.asyncDispose]()
  }
}

function directionsOf(properties: Readonly<Record<string, string>>): string[] | undefined {
  const text = Object.entries(properties).find(([name]) => name.toLowerCase() === 'direction')?.[1]
  return text
    ?.toLowerCase()
    .split(',')
    .map((word) => word.trim())
}
