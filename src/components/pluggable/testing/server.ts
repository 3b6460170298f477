import { rmSync } from 'node:fs'
import type { Binding } from '../../../blocks/bindings/driver.ts'
import type { MessageHandler, PubSub } from '../../../blocks/pubsub/driver.ts'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { EtagError, type StateOperation, type StateStore } from '../../../blocks/state/driver.ts'
import { Code, messageOf } from '../../../errors.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { frame } from '../../../transport/grpc/frames.ts'
import { type InputOf, type MessageOf, type MessageType, map, message, nested, repeated, string } from '../../../transport/grpc/message.ts'
import { createGrpcServer, type GrpcCall, type GrpcMethod, type GrpcStream, unary } from '../../../transport/grpc/server.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import type { Component, DriverModule } from '../../component.ts'
import * as binding from '../bindings-messages.ts'
import { FeaturesResponse, InitRequest, Nothing } from '../common-messages.ts'
import * as pubsub from '../pubsub-messages.ts'
import { Request, Response } from '../reflection.ts'
import * as secrets from '../secrets-messages.ts'
import * as state from '../state-messages.ts'

const P = 'dapr.proto.components.v1.'
const Violation = message('test.FieldViolation', { field: string(1), description: string(2) })
const BadRequest = message('test.BadRequest', { fieldViolations: repeated(nested(1, Violation)) })
export const ErrorInfo = message('test.ErrorInfo', { reason: string(1), domain: string(2), metadata: map(3) })
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

export interface ServerOptions {
  socket: string
  state?: DriverModule<StateStore>
  pubsub?: DriverModule<PubSub>
  input?: DriverModule<Binding>
  output?: DriverModule<Binding>
  secrets?: DriverModule<SecretStore>
  /** In place of what would answer, by method, e.g. `StateStore/Get`. */
  instead?: Record<string, (request: Buffer, call: GrpcCall) => Buffer>
  reflection?: 'v1' | 'v1alpha' | 'none'
}

export interface ComponentServer extends AsyncDisposable {
  /** `Service/Method instance` of every call so far. */
  readonly calls: string[]
  /** Resolves at the next call of a method. */
  called(method: string): Promise<void>
}

/** Our own in-process drivers served as a pluggable component over a unix socket: one instance for each Component resource. */
export async function serveComponent(options: ServerOptions): Promise<ComponentServer> {
  const calls: string[] = []
  const waiters = new Map<string, (() => void)[]>()
  const instances = new Map<string, Component>()
  const methods = new Map<string, GrpcMethod>()
  const services: string[] = []

  const note = (method: string, call: GrpcCall) => {
    calls.push(`${method} ${call.headers['x-component-instance']}`)
    for (const wake of waiters.get(method)?.splice(0) ?? []) wake()
  }
  const found = <T>(service: string, call: GrpcCall): T => {
    const component = instances.get(`${service} ${call.headers['x-component-instance']}`)
    if (!component) throw new GrpcStatus(Code.FailedPrecondition, 'not initialised')
    return component as T
  }
  const add = <T, I, R, RI>(
    method: string,
    request: MessageType<T, I>,
    response: MessageType<R, RI>,
    handle: (request: T, call: GrpcCall) => RI | Promise<RI>,
  ) => {
    const run = unary(request.decode, response.encode, async (given: T, call) => {
      note(method, call)
      return handle(given, call)
    })
    const instead = options.instead?.[method]
    const replaced = (bytes: Buffer, call: GrpcCall) => {
      note(method, call)
      return instead?.(bytes, call) ?? Buffer.alloc(0)
    }
    methods.set(`/${P}${method}`, instead ? { kind: 'unary', handle: replaced } : run)
  }
  const stream = (method: string, handle: (stream: GrpcStream) => void) =>
    methods.set(`/${P}${method}`, {
      kind: 'stream',
      handle(call) {
        handle(call)
        note(method, call)
      },
    })
  const service = (name: string, driver: DriverModule | undefined): boolean => {
    if (!driver) return false
    services.push(P + name)
    add(`${name}/Init`, InitRequest, Nothing, async ({ metadata }, call) => {
      const instance = String(call.headers['x-component-instance'])
      const properties = metadata?.properties ?? {}
      const component = driver.create({ name: instance, type: 'test', version: 'v1', properties, appId: 'test', namespace: '', log })
      await component.init(AbortSignal.timeout(10_000))
      instances.set(`${name} ${instance}`, component)
      return {}
    })
    add(`${name}/Ping`, Nothing, Nothing, () => ({}))
    return true
  }

  if (service('StateStore', options.state)) serveState(add, found)
  if (service('PubSub', options.pubsub)) servePubSub(add, stream, found)
  if (service('InputBinding', options.input)) serveInput(stream, found)
  if (service('OutputBinding', options.output)) {
    add('OutputBinding/ListOperations', Nothing, binding.ListOperationsResponse, (_, call) => ({
      operations: found<Binding>('OutputBinding', call).operations ?? [],
    }))
    add('OutputBinding/Invoke', binding.InvokeRequest, binding.InvokeResponse, async (request, call) => {
      return (await found<Binding>('OutputBinding', call).invoke?.(request)) ?? {}
    })
  }
  if (service('SecretStore', options.secrets)) {
    add('SecretStore/Features', Nothing, FeaturesResponse, () => ({ features: [] }))
    add('SecretStore/Get', secrets.GetSecretRequest, secrets.GetSecretResponse, async ({ key, metadata }, call) => ({
      data: await found<SecretStore>('SecretStore', call).get(key, metadata),
    }))
    add('SecretStore/BulkGet', secrets.BulkGetSecretRequest, secrets.BulkGetSecretResponse, async ({ metadata }, call) => {
      const all = await found<SecretStore>('SecretStore', call).bulkGet(metadata)
      return { data: Object.fromEntries(Object.entries(all).map(([name, entries]) => [name, { secrets: entries }])) }
    })
  }
  if (options.reflection !== 'none') {
    methods.set(`/grpc.reflection.${options.reflection ?? 'v1alpha'}.ServerReflection/ServerReflectionInfo`, {
      kind: 'stream',
      handle(call) {
        call.onMessage = (bytes) => {
          if (Request.decode(bytes).listServices === undefined) return call.fail(new GrpcStatus(Code.Unimplemented, 'only lists'))
          call.write(frame(Response.encode({ listServicesResponse: { service: services.map((name) => ({ name })) } })))
        }
        call.onEnd = () => call.end()
      },
    })
  }

  const server = createGrpcServer({ methods })
  await server.listen({ path: options.socket })
  return {
    calls,
    called: (method) =>
      new Promise((resolve) => {
        waiters.set(method, [...(waiters.get(method) ?? []), resolve])
      }),
    async [Symbol.asyncDispose]() {
      await server.close(0)
      await Promise.all([...instances.values()].map((component) => component[Symbol.asyncDispose]()))
      rmSync(options.socket, { force: true })
    },
  }
}

type Add = <T, I, R, RI>(
  method: string,
  request: MessageType<T, I>,
  response: MessageType<R, RI>,
  handle: (request: T, call: GrpcCall) => RI | Promise<RI>,
) => void
type Found = <T>(service: string, call: GrpcCall) => T
type Stream = (method: string, handle: (stream: GrpcStream) => void) => void

function serveState(add: Add, found: Found): void {
  const store = (call: GrpcCall) => found<StateStore>('StateStore', call)
  // What the protocol has no call for cannot be claimed.
  const served = new Set(['ETAG', 'TRANSACTIONAL', 'TTL', 'QUERY_API'])
  add('StateStore/Features', Nothing, FeaturesResponse, (_, call) => ({
    features: store(call).features.filter((feature) => served.has(feature)),
  }))
  add('StateStore/Get', state.GetRequest, state.GetResponse, async ({ key, metadata }, call) => {
    const item = await store(call).get({ key, metadata })
    return item ? { ...item, etag: item.etag === undefined ? undefined : { value: item.etag } } : {}
  })
  add('StateStore/Set', state.SetRequest, Nothing, (item, call) => told(store(call).set(setOf(item))))
  add('StateStore/Delete', state.DeleteRequest, Nothing, (item, call) => told(store(call).delete(deleteOf(item))))
  add('StateStore/BulkGet', state.BulkGetRequest, state.BulkGetResponse, async ({ items }, call) => ({
    items: await Promise.all(
      items.map(async ({ key, metadata }) => {
        const item = await store(call).get({ key, metadata })
        return item ? { key, ...item, etag: { value: item.etag ?? '' } } : { key }
      }),
    ),
  }))
  add('StateStore/BulkSet', state.BulkSetRequest, Nothing, async ({ items }, call) => {
    await firstError(items.map((item) => store(call).set(setOf(item))))
    return {}
  })
  add('StateStore/BulkDelete', state.BulkDeleteRequest, Nothing, async ({ items }, call) => {
    await firstError(items.map((item) => store(call).delete(deleteOf(item))))
    return {}
  })
  add('TransactionalStateStore/Transact', state.TransactRequest, Nothing, ({ operations, metadata }, call) => {
    const list = operations.map((operation): StateOperation => {
      if (operation.set) return setOf(operation.set)
      if (operation.delete) return deleteOf(operation.delete)
      throw new GrpcStatus(Code.InvalidArgument, 'an operation of no kind')
    })
    return told(store(call).transact?.(list, metadata) ?? Promise.reject(new Error('no transactions')))
  })
}

const CONCURRENCY = [undefined, 'first-write', 'last-write'] as const

function setOf({ key, value, etag, metadata, options }: MessageOf<typeof state.SetRequest>) {
  const concurrency = CONCURRENCY[options?.concurrency ?? 0]
  return { kind: 'upsert' as const, key, value: Buffer.from(value), json: false, etag: etag?.value, metadata, concurrency }
}

function deleteOf({ key, etag, metadata, options }: MessageOf<typeof state.DeleteRequest>) {
  return { kind: 'delete' as const, key, etag: etag?.value, metadata, concurrency: CONCURRENCY[options?.concurrency ?? 0] }
}

async function firstError(works: Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(works.map(told))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** An ETag conflict as the protocol tells it. */
async function told(work: Promise<void>): Promise<InputOf<typeof Nothing>> {
  try {
    await work
    return {}
  } catch (error) {
    if (!(error instanceof EtagError)) throw error
    const value = BadRequest.encode({ fieldViolations: [{ field: 'etag', description: error.message }] })
    throw new GrpcStatus(error.kind === 'mismatch' ? Code.FailedPrecondition : Code.InvalidArgument, 'etag', {
      details: [{ typeUrl: 'type.googleapis.com/google.rpc.BadRequest', value }],
    })
  }
}

function servePubSub(add: Add, stream: Stream, found: Found): void {
  const broker = (call: GrpcCall) => found<PubSub>('PubSub', call)
  add('PubSub/Features', Nothing, FeaturesResponse, () => ({ features: ['BULK_PUBSUB'] }))
  add('PubSub/Publish', pubsub.PublishRequest, Nothing, async ({ topic, data, metadata, contentType }, call) => {
    await broker(call).publish({ topic, data: Buffer.from(data), metadata, contentType })
    return {}
  })
  add('PubSub/BulkPublish', pubsub.BulkPublishRequest, pubsub.BulkPublishResponse, async ({ topic, entries, metadata }, call) => {
    const list = entries.map((entry) => ({ ...entry, data: Buffer.from(entry.event) }))
    const failed = (await broker(call).bulkPublish?.(topic, list, metadata)) ?? []
    return { failedEntries: failed.map(({ entryId, error }) => ({ entryId, error: error.message })) }
  })
  stream('PubSub/PullMessages', (call) => {
    let subscription: Promise<AsyncDisposable> | undefined
    let next = 0
    const unanswered = new Map<string, (error: Error | undefined) => void>()
    call.onMessage = (bytes) => {
      const { topic, ackMessageId, ackError } = pubsub.PullMessagesRequest.decode(bytes)
      if (!topic) return unanswered.get(ackMessageId)?.(ackError && new Error(ackError.message))
      const deliver: MessageHandler = (message) => {
        const id = String(++next)
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        unanswered.set(id, (error) => {
          unanswered.delete(id)
          if (error) reject(error)
          else resolve()
        })
        call.write(frame(pubsub.PullMessagesResponse.encode({ ...message, topicName: message.topic, id })))
        return promise
      }
      // How many messages may be unanswered is the component's to say; the protocol has no word for it.
      subscription = broker(call).subscribe(topic.name, topic.metadata, deliver, { batch: 200 })
      subscription.catch((error: unknown) => call.fail(error))
    }
    call.onEnd = () => call.end()
    call.onClose = () => {
      for (const answer of [...unanswered.values()]) answer(new Error('the stream ended'))
      subscription?.then(
        (handle) => handle[Symbol.asyncDispose](),
        () => {},
      )
    }
  })
}

function serveInput(stream: Stream, found: Found): void {
  stream('InputBinding/Read', (call) => {
    let next = 0
    const unanswered = new Map<string, (answer: MessageOf<typeof binding.ReadRequest>) => void>()
    call.onMessage = (bytes) => {
      const answer = binding.ReadRequest.decode(bytes)
      unanswered.get(answer.messageId)?.(answer)
    }
    const reading = found<Binding>('InputBinding', call).read?.(async (event) => {
      const messageId = String(++next)
      const { promise, resolve } = Promise.withResolvers<MessageOf<typeof binding.ReadRequest>>()
      unanswered.set(messageId, resolve)
      call.write(frame(binding.ReadResponse.encode({ ...event, messageId })))
      const { responseData, responseError } = await promise
      unanswered.delete(messageId)
      if (responseError) throw new Error(responseError.message)
      return Buffer.from(responseData)
    })
    call.onEnd = () => call.end()
    call.onClose = () =>
      void reading?.then((handle) => handle[Symbol.asyncDispose]()).catch((error: unknown) => log.error(messageOf(error)))
  })
}
