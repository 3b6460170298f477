import type { LogRecord } from '../event.ts'
import { parseLogfmt, parseLtsv } from './pairs.ts'
import { parseSyslog } from './syslog.ts'
import { type TimeParser, timeParser } from './time.ts'
import { converters } from './types.ts'

/** As a tail or the filter `parse` has it. */
export interface FormatSpec {
  format?: 'text' | 'json' | 'logfmt' | 'ltsv' | 'regex' | 'cri' | 'docker' | 'syslog'
  pattern?: string
  types?: Readonly<Record<string, string>>
  timeField?: string
  timeFormat?: string
  keepTime?: boolean
}

/** What a line says. `json` is the line itself when the record is exactly that. */
export interface Parsed {
  record: LogRecord
  json?: string | undefined
  time: number | undefined
}

/** Reads one line; undefined: it is not of the format. */
export type LineParser = (line: string) => Parsed | undefined

/** Fields of one line. Throws for a format that makes no sense. `text` is for the caller: the line is a field then. */
export function lineParser(spec: FormatSpec): LineParser {
  const { format, keepTime = true } = spec
  const timeField = spec.timeField ?? (format === 'syslog' ? 'time' : undefined)
  const time: TimeParser | undefined = timeField === undefined ? undefined : timeParser(spec.timeFormat)
  const convert = converters(spec.types)
  const fields = fieldsOf(spec)
  const plain = !convert && (!timeField || keepTime)
  return (line) => {
    const record = fields(line)
    if (!record) return undefined
    convert?.(record)
    const at = timeField === undefined ? undefined : time?.(record[timeField])
    if (timeField !== undefined && at !== undefined && !keepTime) delete record[timeField]
    return { record, json: plain && format === 'json' ? line : undefined, time: at }
  }
}

function fieldsOf({ format, pattern }: FormatSpec): (line: string) => LogRecord | undefined {
  switch (format) {
    case 'json':
      return parseJson
    case 'logfmt':
      return parseLogfmt
    case 'ltsv':
      return parseLtsv
    case 'syslog':
      return parseSyslog
    case 'regex': {
      const expression = new RegExp(pattern ?? '')
      return (line) => {
        const groups = expression.exec(line)?.groups
        if (!groups) return undefined
        const record: LogRecord = {}
        for (const name in groups) if (groups[name] !== undefined) record[name] = groups[name]
        return record
      }
    }
    default:
      throw new Error(`format ${format} does not give fields`)
  }
}

function parseJson(line: string): LogRecord | undefined {
  // What begins otherwise is no object, and throwing is dear.
  const first = line.charCodeAt(0)
  if (first !== 123 && first !== 32 && first !== 9) return undefined
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as LogRecord) : undefined
  } catch {
    return undefined
  }
}
