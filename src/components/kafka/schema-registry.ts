import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { decodeAvro, encodeAvro } from '../avro.ts'
import { type Avro, parseAvro } from '../avro-schema.ts'
import { exactJson, parseExact } from '../exact-json.ts'

export interface RegistryOptions {
  url: URL
  credentials: { key: string; secret: string } | undefined
  /** Milliseconds for which the newest schema of a topic is taken for the newest; 0: it is asked for each time. */
  newest: number
  /** Values are JSON as Avro has it, with the names of union members. */
  avroJson: boolean
}

interface Known {
  id: number
  type: Avro
  /** Milliseconds of the epoch. */
  until: number
}

const MAGIC = 0
const HEAD = 5
/** Milliseconds for an answer. */
const LIMIT = 10_000
const LARGEST = 16 << 20
/** Schemas kept; the one that came first goes. */
const MOST = 1000

/**
 * Values in Avro by the schemas of a registry (Confluent's API and framing: a zero, the schema's number, the value). Subjects are
 * `<topic>-value`. Errors name the registry and the schema.
 */
export class SchemaRegistry implements AsyncDisposable {
  readonly #options: RegistryOptions
  readonly #http: HttpClient
  readonly #headers: Record<string, string>
  /** By number: what they are never changes. */
  readonly #byId = new Map<number, Promise<Avro>>()
  readonly #newest = new Map<string, Promise<Known>>()

  constructor(options: RegistryOptions) {
    this.#options = options
    this.#http = new HttpClient({ connections: 2, silenceTimeout: LIMIT })
    const { credentials } = options
    const accept = 'application/vnd.schemaregistry.v1+json, application/json'
    const authorization = credentials && `Basic ${Buffer.from(`${credentials.key}:${credentials.secret}`).toString('base64')}`
    this.#headers = authorization ? { accept, authorization } : { accept }
  }

  /** JSON as a value of the newest schema of the topic. */
  async encode(topic: string, data: Buffer): Promise<Buffer> {
    const { id, type } = await this.#latest(`${topic}-value`)
    let value: unknown
    try {
      value = parseExact(data.toString())
    } catch (error) {
      throw new Error(
        `valueSchemaType Avro wants JSON: ${messageOf(error)} (publish JSON, with metadata rawPayload where the schema is not that of a CloudEvent)`,
        {
          cause: error,
        },
      )
    }
    const head = Buffer.allocUnsafe(HEAD)
    head.writeUInt8(MAGIC, 0)
    head.writeUInt32BE(id, 1)
    try {
      return Buffer.concat([head, encodeAvro(type, value, this.#options.avroJson)])
    } catch (error) {
      throw new Error(`the event does not fit schema ${id} of ${topic}-value: ${messageOf(error)}`, { cause: error })
    }
  }

  /** A value of whatever schema it names, as JSON. */
  async decode(value: Buffer): Promise<Buffer> {
    if (value.length < HEAD) throw new Error('value is too short for Avro with a schema of a registry')
    if (value[0] !== MAGIC)
      throw new Error('the value does not begin as Avro with a schema of a registry does: take valueSchemaType off the subscription')
    const id = value.readUInt32BE(1)
    const type = await this.#schema(id)
    try {
      return Buffer.from(exactJson(decodeAvro(type, value.subarray(HEAD), this.#options.avroJson)))
    } catch (error) {
      throw new Error(`the value is not of schema ${id}, which it names: ${messageOf(error)}`, { cause: error })
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }

  async #latest(subject: string): Promise<Known> {
    const held = this.#newest.get(subject)
    const known = await held
    if (known && Date.now() < known.until) return known
    // Whoever comes while it is asked for waits for the same answer.
    if (this.#newest.get(subject) !== held) return this.#latest(subject)
    const asking = this.#askLatest(subject)
    keep(this.#newest, subject, asking)
    return asking
  }

  async #askLatest(subject: string): Promise<Known> {
    const found = await this.#ask(`/subjects/${encodeURIComponent(subject)}/versions/latest`, `subject ${subject}`)
    const id = Number(found.id)
    const type = typeOf(found, `subject ${subject}`)
    return { id, type, until: Date.now() + this.#options.newest }
  }

  #schema(id: number): Promise<Avro> {
    const known = this.#byId.get(id)
    if (known) return known
    const asking = this.#ask(`/schemas/ids/${id}`, `schema ${id}`).then((found) => typeOf(found, `schema ${id}`))
    keep(this.#byId, id, asking)
    return asking
  }

  async #ask(path: string, what: string): Promise<Record<string, unknown>> {
    const { url } = this.#options
    const where = `${what} at the schema registry ${url.host}`
    const reply = await this.#http
      .request({
        method: 'GET',
        url,
        path: `${url.pathname.replace(/\/+$/, '')}${path}`,
        headers: this.#headers,
        signal: AbortSignal.timeout(LIMIT),
        limit: LARGEST,
        tooLarge: () => new Error(`more than ${LARGEST} bytes`),
      })
      .catch((error: unknown) => {
        throw new Error(`no answer about ${where}: ${messageOf(error)} (start it or correct schemaRegistryURL)`, { cause: error })
      })
    const found = objectIn(reply.body)
    if (reply.status === 200 && found) return found
    const next =
      reply.status === 401 || reply.status === 403
        ? 'correct schemaRegistryAPIKey and schemaRegistryAPISecret'
        : reply.status === 404
          ? 'register the schema first'
          : 'correct schemaRegistryURL'
    const words = typeof found?.message === 'string' ? `: ${found.message}` : ''
    throw new Error(`${where}: status ${reply.status}${words} (${next})`)
  }
}

/** Keeps an answer until it turns out to be none. */
function keep<K, V>(table: Map<K, Promise<V>>, key: K, answer: Promise<V>): void {
  const [oldest] = table.keys()
  if (table.size >= MOST && oldest !== undefined) table.delete(oldest)
  table.set(key, answer)
  answer.catch(() => {
    if (table.get(key) === answer) table.delete(key)
  })
}

function typeOf({ schema, schemaType = 'AVRO', references }: Record<string, unknown>, what: string): Avro {
  if (schemaType !== 'AVRO') throw new Error(`${what} is of type ${schemaType} and not Avro`)
  if (Array.isArray(references) && references.length > 0)
    throw new Error(`${what} refers to other schemas, which is not supported: register it whole`)
  try {
    return parseAvro(JSON.parse(String(schema)))
  } catch (error) {
    throw new Error(`${what} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

function objectIn(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
