import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { parseDuration } from '../../metadata.ts'
import { connectionOf } from '../../nats/fields.ts'
import { NatsLink } from '../../nats/link.ts'
import { type Act, operationsOf } from '../acts.ts'
import { bufferOf, headersOf, metadataOf } from './headers.ts'
import { Inbox } from './inbox.ts'
import { Outbox, type Outgoing } from './outbox.ts'
import { fields, readSettings, type Settings } from './settings.ts'
import { subjectFault } from './subjects.ts'

/** Core NATS, at most once: `create` publishes, `request` waits for an answer, reading feeds the app and sends its answers back. */
class NatsBinding implements Binding {
  readonly operations: readonly string[]
  readonly invoke: Act
  /** Without a subject there is nothing to read, and the app is not asked. */
  readonly read?: Required<Binding>['read']
  readonly #settings: Settings
  readonly #link: NatsLink
  readonly #outbox: Outbox
  readonly #inboxes = new Set<Inbox>()

  constructor(context: ComponentContext) {
    const settings = readSettings(context.properties)
    const { options, address } = connectionOf(settings.values)
    this.#settings = settings
    this.#link = new NatsLink({
      options: { ...options, noAsyncTraces: true },
      address,
      component: `binding ${context.name}`,
      log: context.log,
    })
    this.#outbox = new Outbox(this.#link)
    const { operations, invoke } = operationsOf({
      create: async (request, signal) => {
        await this.#outbox.publish(this.#outgoing(request), settings.values.publishTimeout as number, signal)
        return undefined
      },
      request: async (request, signal) => {
        const limit = timeoutOf(request.metadata) ?? (settings.values.timeout as number)
        const answer = await this.#outbox.request(this.#outgoing(request), limit, signal)
        return { data: bufferOf(answer), metadata: metadataOf(answer) }
      },
    })
    this.operations = operations ?? []
    this.invoke = invoke
    if (settings.subjects.length > 0) this.read = (handler) => this.#read(handler)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#link.open(signal)
  }

  async ping(): Promise<void> {
    await this.#link.ping(this.#settings.values.publishTimeout as number)
  }

  #outgoing({ data, metadata }: BindingRequest): Outgoing {
    const subject = metadata.subject || this.#settings.target
    if (!subject)
      throw new Error('no subject: set metadata.subject in the request, or subject in the component to a single one without wildcards')
    const { reply } = metadata
    for (const [name, text] of [['subject', subject], ...(reply ? [['reply', reply]] : [])] as [string, string][]) {
      const fault = subjectFault(text, 'publish')
      if (fault) throw new Error(`metadata.${name}: ${fault}`)
    }
    return { subject, data, headers: headersOf(metadata), reply }
  }

  async #read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    const { values, subjects } = this.#settings
    await this.#link.open()
    const inbox = new Inbox(
      this.#link,
      {
        subjects,
        queueGroup: values.queueGroup as string | undefined,
        concurrency: values.concurrency as number,
        pendingLimit: values.pendingLimit as number,
        respond: values.respond as boolean,
        limit: values.publishTimeout as number,
        drainTimeout: values.drainTimeout as number,
      },
      handler,
    )
    this.#inboxes.add(inbox)
    try {
      await inbox.start()
    } catch (error) {
      this.#inboxes.delete(inbox)
      await inbox[Symbol.asyncDispose]()
      throw error
    }
    return {
      [Symbol.asyncDispose]: async () => {
        await inbox[Symbol.asyncDispose]()
        this.#inboxes.delete(inbox)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#inboxes].map((inbox) => inbox[Symbol.asyncDispose]()))
    await this.#link[Symbol.asyncDispose]()
  }
}

/** Milliseconds that a request gives itself. */
function timeoutOf({ timeout }: Readonly<Record<string, string>>): number | undefined {
  if (!timeout) return undefined
  const limit = parseDuration(timeout)
  if (limit === undefined || limit < 1 || limit > 2 ** 31 - 1)
    throw new Error(`metadata.timeout: "${timeout}" is not a duration such as 500ms, 5s or 1m`)
  return limit
}

export const driver: DriverModule<Binding> = {
  summary: 'Publishes to NATS subjects, asks by request and reply, and feeds the app from subjects, at most once. Ours, not in Dapr.',
  metadata: fields,
  create: (context) => new NatsBinding(context),
}
