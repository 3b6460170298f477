import { type ColumnType, Cursor, readType, readValue, type Value } from './values.ts'

/** A refusal of the server, by its number. */
export class SqlError extends Error {
  readonly number: number
  /** From 20 on the server ends the connection. */
  readonly severity: number

  constructor(number: number, severity: number, message: string) {
    super(message)
    this.number = number
    this.severity = severity
  }
}

/** What a message of the server says. */
export interface Answer {
  rows: Value[][]
  /** Rows changed, of all statements. */
  affected: number
  /** The first, with what came after it as its cause. */
  error?: SqlError
  signedIn: boolean
  packetSize?: number
  /** Another place to connect to, as Azure has it. */
  route?: { host: string; port: number }
  /** The transaction that is open now, if it changed: all zero when there is none. */
  transaction?: Buffer
}

const TOKEN = {
  returnStatus: 0x79,
  columns: 0x81,
  error: 0xaa,
  info: 0xab,
  returnValue: 0xac,
  loginAck: 0xad,
  features: 0xae,
  row: 0xd1,
  rowWithNulls: 0xd2,
  sessionState: 0xe4,
  environment: 0xe3,
  federated: 0xee,
  done: 0xfd,
  doneProcedure: 0xfe,
  doneInProcedure: 0xff,
} as const
const CHANGE = { packetSize: 4, begin: 8, commit: 9, rollback: 10, ended: 17, route: 20 } as const
const COUNTED = 0x10
const SELECT = 0xc1

/** Reads a whole message. Throws on what it cannot read. */
export function readAnswer(body: Buffer): Answer {
  const cursor = new Cursor(body)
  const answer: Answer = { rows: [], affected: 0, signedIn: false }
  let columns: ColumnType[] = []
  while (cursor.more) {
    const token = cursor.byte()
    if (token === TOKEN.columns) columns = readColumns(cursor)
    else if (token === TOKEN.row) answer.rows.push(columns.map((column) => readValue(cursor, column)))
    else if (token === TOKEN.rowWithNulls) {
      const nulls = cursor.bytes(Math.ceil(columns.length / 8))
      const isNull = (index: number) => (((nulls[index >> 3] as number) >> (index & 7)) & 1) === 1
      answer.rows.push(columns.map((column, index) => (isNull(index) ? null : readValue(cursor, column))))
    } else if (token === TOKEN.done || token === TOKEN.doneProcedure || token === TOKEN.doneInProcedure) {
      const [status, command, count] = [cursor.short(), cursor.short(), cursor.long()]
      if (status & COUNTED && command !== SELECT && token !== TOKEN.doneProcedure) answer.affected += Number(count)
    } else if (token === TOKEN.error) {
      const error = readError(new Cursor(cursor.bytes(cursor.short())))
      answer.error ??= error
    } else if (token === TOKEN.environment) readChange(new Cursor(cursor.bytes(cursor.short())), answer)
    else if (token === TOKEN.returnStatus) cursor.bytes(4)
    else if (token === TOKEN.returnValue) {
      cursor.short()
      cursor.text(cursor.byte())
      cursor.bytes(7)
      readValue(cursor, readType(cursor))
    } else if (token === TOKEN.features) {
      while (cursor.byte() !== 0xff) cursor.bytes(cursor.int())
    } else if (token === TOKEN.sessionState || token === TOKEN.federated) cursor.bytes(cursor.int())
    else {
      if (token === TOKEN.loginAck) answer.signedIn = true
      // What else there is (notes, order of columns, …) says how long it is.
      cursor.bytes(cursor.short())
    }
  }
  return answer
}

function readColumns(cursor: Cursor): ColumnType[] {
  const count = cursor.short()
  if (count === 0xffff) return []
  return Array.from({ length: count }, () => {
    cursor.bytes(6)
    const type = readType(cursor)
    cursor.text(cursor.byte())
    return type
  })
}

function readError(cursor: Cursor): SqlError {
  const number = cursor.int()
  cursor.byte()
  const severity = cursor.byte()
  return new SqlError(number, severity, cursor.text(cursor.short()))
}

function readChange(cursor: Cursor, answer: Answer): void {
  const kind = cursor.byte()
  if (kind === CHANGE.packetSize) answer.packetSize = Number(cursor.text(cursor.byte()))
  else if (kind === CHANGE.begin) answer.transaction = Buffer.from(cursor.bytes(cursor.byte()))
  else if (kind === CHANGE.commit || kind === CHANGE.rollback || kind === CHANGE.ended) answer.transaction = Buffer.alloc(8)
  else if (kind === CHANGE.route) {
    cursor.short()
    cursor.byte()
    const port = cursor.short()
    answer.route = { host: cursor.text(cursor.short()), port }
  }
}
