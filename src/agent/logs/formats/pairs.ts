import type { LogRecord } from '../event.ts'

const PAIR = /([^\s="]+)(?:=("(?:[^"\\]|\\.)*"|[^\s"]*))?/y
const SPACE = /\s*/y
/** Fields of one line; more are no log line. */
const MOST = 1000

/** `key=value key="quoted \"value\"" flag`. A key alone is true. Undefined: not one pair, or something that is none. */
export function parseLogfmt(line: string): LogRecord | undefined {
  const record: LogRecord = {}
  let pairs = 0
  let at = 0
  for (let count = 0; count < MOST; count++) {
    SPACE.lastIndex = at
    SPACE.test(line)
    at = SPACE.lastIndex
    if (at >= line.length) return pairs > 0 ? record : undefined
    PAIR.lastIndex = at
    const found = PAIR.exec(line)
    if (!found || found[0] === '') return undefined
    at = PAIR.lastIndex
    const [, key, value] = found
    if (value === undefined) record[key as string] = true
    else {
      pairs++
      record[key as string] = value.startsWith('"') ? unquoted(value) : value
    }
  }
  return undefined
}

function unquoted(text: string): string {
  try {
    return JSON.parse(text) as string
  } catch {
    return text.slice(1, -1).replaceAll(/\\(.)/g, '$1')
  }
}

/** `label:value` with tabs between. Undefined: a part has no label. */
export function parseLtsv(line: string): LogRecord | undefined {
  const record: LogRecord = {}
  for (const part of line.split('\t', MOST)) {
    const colon = part.indexOf(':')
    if (colon < 1) return undefined
    record[part.slice(0, colon)] = part.slice(colon + 1)
  }
  return record
}
