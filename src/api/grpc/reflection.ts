import { Code } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { bytes, int32, knownMessages, message, nested, optional, repeated, string } from '../../transport/grpc/message.ts'
import { decodeRequest, type GrpcMethod, type GrpcStream } from '../../transport/grpc/server.ts'
import { type DescribedFile, describe, packageOf, type ServiceTable } from './descriptors.ts'
import type { GrpcMethods } from './method.ts'

/** Server reflection, v1 and v1alpha, which differ in their package only: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md */

function tables(version: 'v1' | 'v1alpha') {
  const name = (type: string) => `grpc.reflection.${version}.${type}`
  const ExtensionRequest = message(name('ExtensionRequest'), { containingType: string(1), extensionNumber: int32(2) })
  const ServerReflectionRequest = message(name('ServerReflectionRequest'), {
    host: string(1),
    fileByFilename: optional(string(3)),
    fileContainingSymbol: optional(string(4)),
    fileContainingExtension: nested(5, ExtensionRequest),
    allExtensionNumbersOfType: optional(string(6)),
    listServices: optional(string(7)),
  })
  const ServiceResponse = message(name('ServiceResponse'), { name: string(1) })
  const ServerReflectionResponse = message(name('ServerReflectionResponse'), {
    validHost: string(1),
    originalRequest: nested(2, ServerReflectionRequest),
    fileDescriptorResponse: nested(4, message(name('FileDescriptorResponse'), { fileDescriptorProto: repeated(bytes(1)) })),
    allExtensionNumbersResponse: nested(
      5,
      message(name('ExtensionNumberResponse'), { baseTypeName: string(1), extensionNumber: repeated(int32(2)) }),
    ),
    listServicesResponse: nested(6, message(name('ListServiceResponse'), { service: repeated(nested(1, ServiceResponse)) })),
    errorResponse: nested(7, message(name('ErrorResponse'), { errorCode: int32(1), errorMessage: string(2) })),
  })
  return { service: name('ServerReflection'), ServerReflectionRequest, ServerReflectionResponse }
}

/**
 * Describes the methods of a server, from the tables of their messages; those that a method does not name are looked for by
 * the names of the protocol (`GetState` → `GetStateRequest`). Nothing is built before somebody asks.
 */
export function reflectionMethods(methods: GrpcMethods): GrpcMethods {
  let built: Promise<Catalogue> | undefined
  const all: (readonly [string, GrpcMethod])[] = [...methods]
  const catalogue = () => {
    built ??= import('./described.ts').then(() => new Catalogue(all))
    return built
  }
  for (const version of ['v1', 'v1alpha'] as const) {
    const { service, ServerReflectionRequest, ServerReflectionResponse } = tables(version)
    all.push([
      `/${service}/ServerReflectionInfo`,
      {
        kind: 'stream',
        types: { request: ServerReflectionRequest, response: ServerReflectionResponse, clientStreams: true, serverStreams: true },
        handle(stream: GrpcStream) {
          let answered = Promise.resolve()
          stream.onMessage = (received) => {
            const originalRequest = decodeRequest(ServerReflectionRequest.decode, received)
            // The next question waits until this answer is on its way.
            stream.pause()
            answered = answered
              .then(async () => {
                const reply = { validHost: originalRequest.host, originalRequest, ...answer(await catalogue(), originalRequest) }
                if (stream.write(frame(ServerReflectionResponse.encode(reply)))) stream.resume()
              })
              .catch((error: unknown) => stream.fail(error))
          }
          stream.onDrain = () => stream.resume()
          stream.onEnd = () => void answered.then(() => stream.end())
        },
      },
    ])
  }
  return all.slice(methods.length)
}

interface Question {
  fileByFilename: string | undefined
  fileContainingSymbol: string | undefined
  fileContainingExtension: { containingType: string } | undefined
  allExtensionNumbersOfType: string | undefined
  listServices: string | undefined
}

function answer(catalogue: Catalogue, question: Question) {
  const files = (names: readonly string[] | undefined, what: string) =>
    names
      ? { fileDescriptorResponse: { fileDescriptorProto: names.map((name) => (catalogue.files.get(name) as DescribedFile).bytes) } }
      : missing(what)
  if (question.listServices !== undefined)
    return {
      listServicesResponse: {
        service: catalogue.services.map(({ fullName }) => ({ name: fullName })).sort((a, b) => (a.name < b.name ? -1 : 1)),
      },
    }
  const { fileByFilename, fileContainingSymbol, fileContainingExtension, allExtensionNumbersOfType } = question
  if (fileByFilename !== undefined) return files(catalogue.closure(fileByFilename), fileByFilename)
  if (fileContainingSymbol !== undefined) return files(catalogue.closure(catalogue.fileOf(fileContainingSymbol)), fileContainingSymbol)
  if (allExtensionNumbersOfType !== undefined && catalogue.fileOf(allExtensionNumbersOfType) !== undefined)
    return { allExtensionNumbersResponse: { baseTypeName: allExtensionNumbersOfType } }
  return missing(allExtensionNumbersOfType ?? fileContainingExtension?.containingType ?? 'an empty request')
}

function missing(what: string) {
  return { errorResponse: { errorCode: Code.NotFound, errorMessage: `${what} is not known here` } }
}

/** What there is to tell, built once. */
class Catalogue {
  readonly services: readonly ServiceTable[]
  readonly files: ReadonlyMap<string, DescribedFile>
  readonly #symbols = new Map<string, string>()

  constructor(methods: GrpcMethods) {
    const services = new Map<string, ServiceTable['methods'][number][]>()
    for (const [path, method] of methods) {
      const [, service = '', name = ''] = path.split('/')
      const list = services.get(service) ?? []
      services.set(service, list)
      const { types } = method
      // What answers "unimplemented" or "unavailable" needs no message, and nobody has made a table: it is not described.
      const guess = (what: 'Request' | 'Response') => {
        const [, base = name, stage = ''] = /^(.*?)((?:Alpha|Beta)\d+)?$/.exec(name) ?? []
        const names = [`${name}${what}`, `${base}${what}${stage}`, `${base}${what}`].map((one) => `${packageOf(service)}.${one}`)
        return names.find((one) => knownMessages().has(one))
      }
      const { [name]: unlike } = RESPONSES
      const streams = method.kind === 'stream' && unlike === undefined
      const request = types?.request.fullName ?? guess('Request')
      if (request === undefined) continue
      list.push({
        name,
        request,
        response: types?.response.fullName ?? unlike ?? guess('Response') ?? EMPTY,
        clientStreams: types ? types.clientStreams === true : streams && !name.startsWith('SubscribeConfiguration'),
        serverStreams: types ? types.serverStreams === true : streams,
      })
    }
    this.services = [...services].map(([fullName, list]) => ({ fullName, methods: list }))
    this.files = describe(this.services, knownMessages(), (symbol, file) => this.#symbols.set(symbol, file))
  }

  /** The file that declares a service, a method, a message, an enum, or a field or value inside one. */
  fileOf(symbol: string): string | undefined {
    for (let name = symbol.replace(/^\./, ''); name !== ''; name = name.slice(0, Math.max(0, name.lastIndexOf('.')))) {
      const file = this.#symbols.get(name)
      if (file !== undefined) return file
    }
    return undefined
  }

  /** A file and all that it needs. */
  closure(name: string | undefined): string[] | undefined {
    if (name === undefined || !this.files.has(name)) return undefined
    const found = new Set([name])
    for (const one of found) for (const dependency of this.files.get(one)?.dependencies ?? []) found.add(dependency)
    return [...found]
  }
}

/** Unary methods, served as streams to pass bodies on, whose response is not named like them. */
const RESPONSES: Readonly<Record<string, string>> = { InvokeService: 'dapr.proto.common.v1.InvokeResponse' }
const EMPTY = message('google.protobuf.Empty', {}).fullName
