import { isUtf8 } from 'node:buffer'
import type { StateDelete, StateFeature, StateGet, StateItem, StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { Code } from '../../../errors.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { addressOf, GoogleService } from '../../gcp/service.ts'
import { googleFields, readIdentity } from '../../gcp/settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { CommitRequest, CommitResponse, LookupRequest, LookupResponse, NON_TRANSACTIONAL } from './messages.ts'

const fields: readonly MetadataField[] = [
  ...googleFields,
  { name: 'entity_kind', kind: 'string', aliases: ['entityKind'], default: 'DaprState', description: 'Kind of the entities.' },
  {
    name: 'noIndex',
    kind: 'bool',
    default: 'false',
    description: 'Values are not indexed: what is indexed has up to 1,500 bytes, what is not up to 1 MiB.',
  },
  {
    name: 'endpoint',
    kind: 'string',
    aliases: ['connectionEndpoint'],
    description: 'An emulator, e.g. localhost:8432, without privateKeyID: nobody signs in there. Also DATASTORE_EMULATOR_HOST.',
  },
]

const GOOGLE = 'datastore.googleapis.com:443'
const MAX_MESSAGE = 12 << 20

/** daprd's layout: an entity for each key, its value a text. Bytes that are no text, which daprd refuses, are kept as bytes. */
class FirestoreState implements StateStore {
  readonly features: readonly StateFeature[] = []
  readonly #service: GoogleService
  readonly #projectId: string
  readonly #kind: string
  readonly #noIndex: boolean

  constructor(context: ComponentContext) {
    const values = parseMetadata(fields, context.properties)
    if (values.projectID === undefined) throw new MetadataError('error parsing required field: project_id')
    this.#projectId = String(values.projectID)
    this.#kind = String(values.entity_kind)
    this.#noIndex = values.noIndex === true
    const own = values.privateKeyID !== undefined
    // As in Google's SDK: an emulator is for those who bring no key.
    const emulator = own ? '' : String(values.endpoint ?? process.env.DATASTORE_EMULATOR_HOST ?? '')
    this.#service = new GoogleService({
      package: 'google.datastore.v1',
      address: emulator === '' ? GOOGLE : addressOf('endpoint', emulator),
      secure: emulator === '',
      identity: emulator === '' ? readIdentity(values) : { kind: 'nobody' },
      maxMessage: MAX_MESSAGE,
    })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#service.open(signal)
  }

  async ping(signal?: AbortSignal): Promise<void> {
    try {
      await this.#lookup('outrider-ping', signal)
    } catch (error) {
      if (!(error instanceof GrpcStatus && error.code === Code.PermissionDenied)) throw error
    }
  }

  async get({ key }: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    const value = (await this.#lookup(key, signal))?.properties.Value
    if (value === undefined) return undefined
    return { data: value.blob === undefined ? Buffer.from(value.text ?? '') : Buffer.from(value.blob) }
  }

  async set({ key, value }: StateSet, signal?: AbortSignal): Promise<void> {
    const content = isUtf8(value) ? { text: value.toString() } : { blob: value }
    const entity = { key: this.#key(key), properties: { Value: { ...content, excludeFromIndexes: this.#noIndex } } }
    await this.#commit({ upsert: entity }, signal)
  }

  async delete({ key }: StateDelete, signal?: AbortSignal): Promise<void> {
    await this.#commit({ delete: this.#key(key) }, signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#service[Symbol.asyncDispose]()
  }

  #key(name: string) {
    return { partitionId: { projectId: this.#projectId }, path: [{ kind: this.#kind, name }] }
  }

  async #lookup(name: string, signal?: AbortSignal) {
    const projectId = this.#projectId
    const request = { projectId, keys: [this.#key(name)] }
    const reply = await this.#service.call('Datastore/Lookup', `project_id=${projectId}`, LookupRequest, LookupResponse, request, signal)
    if (reply.deferred.length > 0) throw new GrpcStatus(Code.Unavailable, `Firestore put key ${name} off: try again`)
    return reply.found[0]?.entity
  }

  async #commit(
    mutation: NonNullable<Parameters<typeof CommitRequest.encode>[0]['mutations']>[number],
    signal?: AbortSignal,
  ): Promise<void> {
    const projectId = this.#projectId
    const request = { projectId, mode: NON_TRANSACTIONAL, mutations: [mutation] }
    await this.#service.call('Datastore/Commit', `project_id=${projectId}`, CommitRequest, CommitResponse, request, signal)
  }
}

/** state.gcp.firestore */
export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Google Cloud Firestore in Datastore mode, an entity for each key.',
  metadata: fields,
  create: (context) => new FirestoreState(context),
}
