import type { EnumType, Field, MessageType } from '../../transport/grpc/message.ts'
import { ProtoWriter } from '../../transport/grpc/wire.ts'

/**
 * google.protobuf.FileDescriptorProto out of message tables, one file per package.
 * Field numbers: https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
 */

export interface ServiceTable {
  /** e.g. `dapr.proto.runtime.v1.Dapr` */
  fullName: string
  methods: readonly { name: string; request: string; response: string; clientStreams: boolean; serverStreams: boolean }[]
}

export interface DescribedFile {
  name: string
  dependencies: readonly string[]
  bytes: Buffer
}

const TYPES = { double: 1, int64: 3, uint64: 4, int32: 5, bool: 8, string: 9, message: 11, bytes: 12, uint32: 13, enum: 14 } as const
const OPTIONAL = 1
const REPEATED = 3

/** Where the well-known packages' files are; others are named after their package. */
const FILES: Readonly<Record<string, string>> = {
  'dapr.proto.runtime.v1': 'dapr/proto/runtime/v1/dapr.proto',
  'dapr.proto.common.v1': 'dapr/proto/common/v1/common.proto',
  'grpc.health.v1': 'grpc/health/v1/health.proto',
  'grpc.reflection.v1': 'grpc/reflection/v1/reflection.proto',
  'grpc.reflection.v1alpha': 'grpc/reflection/v1alpha/reflection.proto',
}

/** Fields that Dapr's own files write in camel case. */
const CAMEL_CASE: ReadonlySet<string> = new Set(
  [
    'BulkPublishResponse.failedEntries',
    'ConversationInput.scrubPII',
    'ConversationRequest.contextID',
    'ConversationRequest.scrubPII',
    'ConversationResponse.contextID',
    'ExecuteStateTransactionRequest.storeName',
    'TransactionalActorStateOperation.operationType',
    'TransactionalStateOperation.operationType',
  ].map((name) => `dapr.proto.runtime.v1.${name}`),
)

/** A message or an enum with what is declared inside it. */
interface Node {
  name: string
  fullName: string
  message?: MessageType<unknown, unknown>
  enumType?: EnumType
  children: Map<string, Node>
}

/** The package of a full name: its segments before the first one that begins with a capital, as proto style has it. */
export function packageOf(fullName: string): string {
  const segments = fullName.split('.')
  const first = segments.findIndex((segment) => /^[A-Z]/.test(segment))
  return segments.slice(0, first < 0 ? -1 : first).join('.')
}

function fileOf(fullName: string): string {
  const name = packageOf(fullName)
  // Google's well-known types each have their own file; clients bring these along and expect them by name.
  if (name === 'google.protobuf') return `google/protobuf/${wellKnownFile(fullName.slice(name.length + 1).split('.')[0] as string)}.proto`
  return FILES[name] ?? `${name.replaceAll('.', '/')}.proto`
}

function wellKnownFile(type: string): string {
  if (/^(Struct|Value|ListValue|NullValue)$/.test(type)) return 'struct'
  return /Value$/.test(type) ? 'wrappers' : snake(type)
}

function snake(name: string): string {
  return name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter}`).toLowerCase()
}

/** Every file that describes these services and all messages they reach, by file name. `declared` hears where each name is. */
export function describe(
  services: readonly ServiceTable[],
  messages: ReadonlyMap<string, MessageType<unknown, unknown>>,
  declared: (fullName: string, file: string) => void,
): Map<string, DescribedFile> {
  const roots = new Map<string, { nodes: Map<string, Node>; package: string; services: ServiceTable[]; uses: Set<string> }>()
  const file = (fullName: string) => {
    const name = fileOf(fullName)
    let found = roots.get(name)
    if (!found) {
      found = { nodes: new Map(), package: packageOf(fullName), services: [], uses: new Set() }
      roots.set(name, found)
    }
    return found
  }
  const node = (fullName: string): Node => {
    const { nodes, package: pack } = file(fullName)
    let level = nodes
    let at = pack
    let found: Node | undefined
    for (const name of fullName.slice(pack.length + 1).split('.')) {
      at = `${at}.${name}`
      found = level.get(name)
      if (!found) {
        found = { name, fullName: at, children: new Map() }
        level.set(name, found)
        declared(at, fileOf(fullName))
      }
      level = found.children
    }
    return found as Node
  }
  const seen = new Set<string>()
  const add = (type: MessageType<unknown, unknown>) => {
    if (seen.has(type.fullName)) return
    seen.add(type.fullName)
    node(type.fullName).message = type
    for (const field of Object.values(type.fields)) {
      const { enumType, messageType } = field as Field<unknown>
      if (enumType) node(enumType.fullName).enumType = enumType
      const target = messageType?.()
      if (target) add(target)
      for (const used of [enumType?.fullName, target?.fullName]) if (used) file(type.fullName).uses.add(fileOf(used))
    }
  }
  for (const service of services) {
    const home = file(service.fullName)
    home.services.push(service)
    declared(service.fullName, fileOf(service.fullName))
    for (const { request, response } of service.methods) {
      for (const name of [request, response]) {
        home.uses.add(fileOf(name))
        const type = messages.get(name)
        if (type) add(type)
        else node(name)
      }
    }
  }
  const out = new Map<string, DescribedFile>()
  for (const [name, root] of roots) {
    root.uses.delete(name)
    const dependencies = [...root.uses].sort()
    const writer = new ProtoWriter()
    writer.string(1, name)
    writer.string(2, root.package)
    for (const dependency of dependencies) writer.string(3, dependency)
    for (const child of root.nodes.values()) writeNode(writer, child, 4, 5)
    for (const service of root.services) writeService(writer, service)
    writer.string(12, 'proto3')
    out.set(name, { name, dependencies, bytes: writer.take() })
  }
  return out
}

function writeNode(writer: ProtoWriter, node: Node, messageField: number, enumField: number): void {
  if (node.enumType) return writeEnum(writer, enumField, node.name, node.enumType)
  const mark = writer.begin(messageField)
  writer.string(1, node.name)
  const optional: string[] = []
  const maps: [string, Field<unknown>][] = []
  for (const [key, value] of Object.entries(node.message?.fields ?? {})) {
    const field = value as Field<unknown>
    if (field.label === 'map') maps.push([key, field])
    writeField(writer, node, key, field, optional)
  }
  for (const child of node.children.values()) writeNode(writer, child, 3, 4)
  for (const [key, field] of maps) writeEntry(writer, entryName(key), field)
  for (const name of optional) {
    const oneof = writer.begin(8)
    writer.string(1, `_${name}`)
    writer.end(oneof)
  }
  writer.end(mark)
}

/** @param optional collects the scalars whose absence counts: each is the only member of a oneof. */
function writeField(writer: ProtoWriter, node: Node, key: string, field: Field<unknown>, optional: string[]): void {
  const name = CAMEL_CASE.has(`${node.fullName}.${key}`) ? key : snake(key)
  const mark = writer.begin(2)
  writer.string(1, name)
  writer.uint(3, field.number)
  writer.uint(4, field.label === 'repeated' || field.label === 'map' ? REPEATED : OPTIONAL)
  writer.uint(5, TYPES[field.type])
  const target = field.label === 'map' ? `${node.fullName}.${entryName(key)}` : (field.enumType ?? field.messageType?.())
  if (target) writer.string(6, `.${typeof target === 'string' ? target : target.fullName}`)
  if (field.label === 'optional' && field.type !== 'message') {
    writer.uint(9, optional.length, true)
    writer.uint(17, 1)
    optional.push(name)
  }
  writer.string(10, field.json ?? key)
  writer.end(mark)
}

function entryName(key: string): string {
  return `${key[0]?.toUpperCase()}${key.slice(1)}Entry`
}

function writeEntry(writer: ProtoWriter, name: string, field: Field<unknown>): void {
  const mark = writer.begin(3)
  writer.string(1, name)
  const target = field.messageType?.()
  for (const [part, number, type, typeName] of [
    ['key', 1, TYPES.string, ''],
    ['value', 2, target ? TYPES.message : TYPES.string, target ? `.${target.fullName}` : ''],
  ] as const) {
    const inner = writer.begin(2)
    writer.string(1, part)
    writer.uint(3, number)
    writer.uint(4, OPTIONAL)
    writer.uint(5, type)
    writer.string(6, typeName)
    writer.string(10, part)
    writer.end(inner)
  }
  const options = writer.begin(7)
  writer.uint(7, 1)
  writer.end(options)
  writer.end(mark)
}

function writeEnum(writer: ProtoWriter, field: number, name: string, type: EnumType): void {
  const mark = writer.begin(field)
  writer.string(1, name)
  for (const [number, value] of Object.entries(type.values)) {
    const one = writer.begin(2)
    writer.string(1, value)
    writer.uint(2, Number(number), true)
    writer.end(one)
  }
  writer.end(mark)
}

function writeService(writer: ProtoWriter, service: ServiceTable): void {
  const mark = writer.begin(6)
  writer.string(1, service.fullName.slice(packageOf(service.fullName).length + 1))
  for (const method of service.methods) {
    const one = writer.begin(2)
    writer.string(1, method.name)
    writer.string(2, `.${method.request}`)
    writer.string(3, `.${method.response}`)
    if (method.clientStreams) writer.uint(5, 1)
    if (method.serverStreams) writer.uint(6, 1)
    writer.end(one)
  }
  writer.end(mark)
}
