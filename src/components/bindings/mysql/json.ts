import type { Answer } from '../../mysql/pool.ts'

// In V8 since Node 22; TypeScript's library does not know it yet.
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }

/** Type numbers of MySQL's protocol. */
const TYPE = {
  null: 6,
  timestamp: 7,
  longlong: 8,
  date: 10,
  datetime: 12,
  newdate: 14,
  varchar: 15,
  bit: 16,
  json: 245,
  blobs: 249,
} as const
/** The character set of what is no text. */
const BINARY = 63
const INSTANTS: ReadonlySet<number> = new Set([TYPE.timestamp, TYPE.date, TYPE.datetime, TYPE.newdate])

/** Rows as daprd gives them: an array of objects, members by name; NULL is left out, but of bytes; `null` when there is no row. */
export function rowsToJson({ rows, columns }: Answer): string {
  if (rows.length === 0) return 'null'
  const names = columns
    .map((column, index) => ({ name: column.name, index, bytes: holdsBytes(column) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return JSON.stringify(
    rows.map((row) => {
      const values = row as unknown as unknown[]
      const out: Record<string, unknown> = {}
      for (const { name, index, bytes } of names) {
        const value = toJson(values[index], columns[index]?.columnType)
        if (value !== null || bytes) out[name] = value
      }
      return out
    }),
  )
}

/** Whether NULL reads as `null`: bytes, bits, and what is nothing but NULL. */
function holdsBytes({ columnType = 0, characterSet }: Answer['columns'][number]): boolean {
  const text = columnType === TYPE.varchar || columnType >= TYPE.blobs
  return columnType === TYPE.null || columnType === TYPE.bit || (text && characterSet === BINARY)
}

/** Numbers of any size exact, times in RFC 3339, bytes in Base64, JSON as it is. */
function toJson(value: unknown, type: number | undefined): unknown {
  if (value === null || value === undefined) return null
  if (Buffer.isBuffer(value)) return value.toString('base64')
  if (type === TYPE.longlong) return rawJSON(String(value))
  if (type === TYPE.json) return JSON.parse(String(value)) as unknown
  if (type !== undefined && INSTANTS.has(type)) return instant(String(value))
  return value
}

/** What MySQL writes `2026-01-02 03:04:05.600000`; times of the server count as UTC, as Go's driver takes them. */
function instant(text: string): string {
  const [date = '', time = '00:00:00'] = text.split(' ')
  // The zero date, which is none in any calendar.
  if (date.startsWith('0000')) return '0001-01-01T00:00:00Z'
  return `${date}T${time.replace(/\.?0+$/, (zeros) => (zeros.startsWith('.') || time.includes('.') ? '' : zeros))}Z`
}
