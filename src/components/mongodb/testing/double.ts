import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { BSON } from 'mongodb'
import { Documents, page, Refusal, type Stored, type View } from './documents.ts'
import { answerTo, commandOf } from './double-wire.ts'
import { ScramServer } from './scram.ts'

export interface DoubleOptions {
  /** Members of the replica set; default 3. `mongos`: as many mongos instead. */
  members?: number
  mongos?: boolean
  users?: Readonly<Record<string, string>>
  tls?: TlsOptions
  name?: string
}

/** What a command that suits meets, as often as `times` says. */
export interface Mishap {
  command: string
  times: number
  /** `cut`: the connection ends before the command is done, `lost`: after; else the code of a refusal. */
  what: 'cut' | 'lost' | number
  labels?: readonly string[]
}

interface Member {
  port: number
  server: Server
  sockets: Set<Socket>
}

/**
 * Stands for a MongoDB replica set, or for several mongos, on 127.0.0.1: it has the data once, so that all members have the same at
 * once. It speaks commands of the documented protocol with the official BSON library; elections, refusals and cuts are a call each.
 */
export class MongoDouble implements AsyncDisposable {
  readonly setName: string
  readonly members: Member[] = []
  primary = 0
  /** Names of the commands that came, in their order. */
  readonly commands: string[] = []
  readonly clients: Stored[] = []
  readonly #options: DoubleOptions
  readonly #collections = new Map<string, Documents>()
  readonly #transactions = new Map<string, { view: View; documents: Documents; number: number }>()
  readonly #done = new Map<string, Stored>()
  readonly #mishaps: Mishap[] = []
  readonly #held = new Map<string, Promise<void>>()
  #election = 1

  private constructor(options: DoubleOptions) {
    this.#options = options
    this.setName = options.name ?? 'rs0'
  }

  static async start(options: DoubleOptions = {}): Promise<MongoDouble> {
    const double = new MongoDouble(options)
    for (let index = 0; index < (options.members ?? 3); index++) {
      const member: Member = { port: 0, server: undefined as never, sockets: new Set() }
      double.members.push(member)
      await double.#listen(member)
    }
    return double
  }

  /** Its members as a connection string. */
  get address(): string {
    const hosts = this.members.map(({ port }) => `127.0.0.1:${port}`).join(',')
    return this.#options.mongos ? `mongodb://${hosts}/` : `mongodb://${hosts}/?replicaSet=${this.setName}`
  }

  documents(database: string, name: string): Documents {
    const path = `${database}.${name}`
    const known = this.#collections.get(path) ?? new Documents()
    this.#collections.set(path, known)
    return known
  }

  mishap(mishap: Mishap): void {
    this.#mishaps.push(mishap)
  }

  /** The next command of the name is not answered before the promise is resolved. */
  hold(command: string): PromiseWithResolvers<void> {
    const held = Promise.withResolvers<void>()
    this.#held.set(command, held.promise)
    return held
  }

  /** Another member becomes primary, or none (-1) until the next call; what was under way in transactions is gone. */
  elect(index: number): void {
    this.primary = index
    this.#election++
    for (const { documents, view } of this.#transactions.values()) documents.release(view)
    this.#transactions.clear()
  }

  /** The member's process is gone. */
  async kill(index: number): Promise<void> {
    const { server, sockets } = this.members[index] as Member
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await closed
  }

  async restart(index: number): Promise<void> {
    await this.#listen(this.members[index] as Member)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map(({ server }, index) => (server.listening ? this.kill(index) : undefined)))
  }

  async #listen(member: Member): Promise<void> {
    const { tls } = this.#options
    const take = (socket: Socket) => this.#serve(member, socket)
    member.server = tls ? createTlsServer(tls, take) : createServer(take)
    member.server.on('tlsClientError', () => {})
    await new Promise<void>((resolve) => member.server.listen(member.port, '127.0.0.1', resolve))
    member.port = (member.server.address() as { port: number }).port
  }

  #serve(member: Member, socket: Socket): void {
    member.sockets.add(socket)
    socket.on('close', () => member.sockets.delete(socket))
    socket.on('error', () => {})
    const scram = new ScramServer(this.#options.users ?? {})
    let held = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk])
      while (held.length >= 4 && held.length >= held.readInt32LE(0)) {
        const size = held.readInt32LE(0)
        const bytes = held.subarray(0, size)
        held = held.subarray(size)
        const command = commandOf(bytes)
        void this.#answer(member, socket, scram, command).then((reply) => {
          if (reply) socket.write(answerTo(bytes, reply))
        })
      }
    })
  }

  async #answer(member: Member, socket: Socket, scram: ScramServer, command: Stored): Promise<Stored | undefined> {
    const [name = ''] = Object.keys(command)
    this.commands.push(name)
    const isHello = /^(hello|ismaster)$/i.test(name)
    const mishap = this.#mishaps.find((one) => one.command === name && one.times > 0)
    const held = this.#held.get(name)
    this.#held.delete(name)
    try {
      await held
      if (mishap) {
        mishap.times--
        if (mishap.what === 'cut') return void socket.destroy()
        if (typeof mishap.what === 'number') throw new Refusal(mishap.what, 'a mishap', mishap.labels)
      }
      if (isHello) return { ...this.#hello(member, command), ...scram.hello(command), ok: 1 }
      const signedIn = scram.take(name, command, (socket as TLSSocket).getPeerCertificate?.().subject?.O as string | undefined)
      if (signedIn) return { ...signedIn, ok: 1 }
      if (this.#options.users && !scram.user) throw new Refusal(13, `command ${name} requires authentication`)
      const reply = { ...(await this.#numbered(member, name, command)), ok: 1 }
      if (mishap?.what === 'lost') return void socket.destroy()
      return reply
    } catch (error) {
      const { code = 1, message, labels = [] } = error as Refusal
      return { ok: 0, code, errmsg: message, ...(labels.length ? { errorLabels: [...labels] } : {}) }
    }
  }

  #hello(member: Member, command: Stored): Stored {
    if (command.client) this.clients.push(command.client as Stored)
    const limits = {
      maxBsonObjectSize: 16 << 20,
      maxMessageSizeBytes: 48_000_000,
      maxWriteBatchSize: 100_000,
      localTime: new Date(),
      logicalSessionTimeoutMinutes: 30,
      minWireVersion: 0,
      maxWireVersion: 21,
      helloOk: true,
    }
    if (this.#options.mongos) return { ...limits, ismaster: true, isWritablePrimary: true, msg: 'isdbgrid' }
    const hosts = this.members.map(({ port }) => `127.0.0.1:${port}`)
    const isPrimary = this.members[this.primary] === member
    const electionId = new BSON.ObjectId(this.#election.toString(16).padStart(24, '0'))
    return {
      ...limits,
      ...{ setName: this.setName, setVersion: 1, hosts, me: `127.0.0.1:${member.port}` },
      ...{ ismaster: isPrimary, isWritablePrimary: isPrimary, secondary: !isPrimary },
      ...(this.primary >= 0 ? { primary: hosts[this.primary] } : {}),
      ...(isPrimary ? { electionId } : {}),
    }
  }

  /** A write that is known by its number is done once, and answered as often as it is asked. */
  async #numbered(member: Member, name: string, command: Stored): Promise<Stored> {
    const isWrite = /^(insert|update|delete|createIndexes|commitTransaction|abortTransaction)$/.test(name)
    if (!this.#options.mongos && this.members[this.primary] !== member) {
      const label = command.autocommit === undefined || name === 'commitTransaction' ? 'RetryableWriteError' : 'TransientTransactionError'
      if (isWrite) throw new Refusal(10_107, 'not primary', [label])
      if (name === 'find' && command.$readPreference === undefined) throw new Refusal(13_435, 'not primary and secondaryOk=false')
    }
    if (command.txnNumber === undefined || command.autocommit !== undefined) return this.#do(name, command)
    const id = `${idOf(command)} ${command.txnNumber}`
    const known = this.#done.get(id)
    if (known) return known
    const reply = await this.#do(name, command)
    this.#done.set(id, reply)
    return reply
  }

  async #do(name: string, command: Stored): Promise<Stored> {
    const documents = this.documents(String(command.$db), String(command[name]))
    const view = command.autocommit === undefined ? undefined : this.#view(name, command, documents)
    switch (name) {
      case 'find':
        return {
          cursor: {
            firstBatch: page(documents.find(command.filter as Stored, view), command),
            id: BSON.Long.ZERO,
            ns: `${command.$db}.${command[name]}`,
          },
        }
      case 'insert':
        for (const document of command.documents as Stored[]) await documents.insert(document, view)
        return { n: (command.documents as Stored[]).length }
      case 'update': {
        const upserted: Stored[] = []
        let n = 0
        for (const [index, statement] of (command.updates as never[]).entries()) {
          const done = await documents.update(statement, view)
          n += done.n
          if (done.upserted) upserted.push({ index, _id: done.upserted })
        }
        return { n, nModified: n - upserted.length, ...(upserted.length ? { upserted } : {}) }
      }
      case 'delete': {
        let n = 0
        for (const statement of command.deletes as never[]) n += await documents.remove(statement, view)
        return { n }
      }
      case 'commitTransaction':
      case 'abortTransaction':
        return this.#end(name, command)
      case 'ping':
      case 'endSessions':
      case 'createIndexes':
        return {}
      default:
        throw new Refusal(59, `no such command: '${name}'`)
    }
  }

  #view(name: string, command: Stored, documents: Documents): View | undefined {
    if (name.endsWith('Transaction')) return undefined
    const id = idOf(command)
    const number = Number(command.txnNumber)
    if (command.startTransaction) {
      this.#abort(id)
      this.#transactions.set(id, { view: documents.begin(), documents, number })
    }
    const open = this.#transactions.get(id)
    if (open?.number !== number)
      throw new Refusal(251, 'Given transaction number does not match any in-progress transactions', ['TransientTransactionError'])
    return open.view
  }

  #end(name: string, command: Stored): Stored {
    const id = idOf(command)
    const open = this.#transactions.get(id)
    const done = `${id} ${command.txnNumber}`
    if (name === 'commitTransaction' && this.#done.has(done)) return {}
    if (open?.number !== Number(command.txnNumber)) throw new Refusal(251, 'NoSuchTransaction', ['TransientTransactionError'])
    if (name === 'abortTransaction') this.#abort(id)
    else {
      open.documents.commit(open.view)
      this.#transactions.delete(id)
      this.#done.set(done, {})
    }
    return {}
  }

  #abort(id: string): void {
    const open = this.#transactions.get(id)
    if (open) open.documents.release(open.view)
    this.#transactions.delete(id)
  }
}

function idOf({ lsid }: Stored): string {
  return ((lsid as Stored).id as { toString(encoding: string): string }).toString('hex')
}
