import type { LogRecord } from '../event.ts'

export const FACILITIES =
  'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock local0 local1 local2 local3 local4 local5 local6 local7'.split(
    ' ',
  )
export const SEVERITIES = ['emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info', 'debug']

const PRIORITY = /^<(\d{1,3})>/
/** RFC 5424: version, time, host, app, process, message id, then structured data. */
const MODERN = /^1 (\S+) (\S+) (\S+) (\S+) (\S+) (?=-|\[)/
/** RFC 3164, as it is written: the time of the local zone without year, or ISO 8601; a host or none; tag and process, after which some leave the colon out (rsyslog, of what came as RFC 5424). */
const OLD =
  /^(?:([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)|(\d{4}-\d\d-\d\dT\S+)) (?:(\S+) )?(?:([^\s:[\]]{1,48})(?:\[([^\]\s]{1,128})\](?::|(?= )) ?|: ?))?/
const STRUCTURED = /\[([^\s=\]"]{1,32})((?: [^\s=\]"]{1,32}="(?:[^"\\\]]|\\.)*")*)\]/y
const PARAMETER = / ([^\s=\]"]{1,32})="((?:[^"\\\]]|\\.)*)"/g

/**
 * One syslog message, RFC 5424 or 3164: `facility`, `severity`, `time`, `host`, `ident`, `pid`, `msgid`, `structured`, `message`.
 * Undefined: it has no priority in front.
 */
export function parseSyslog(text: string): LogRecord | undefined {
  const found = PRIORITY.exec(text)
  const number = Number(found?.[1] ?? 999)
  if (!found || number > 191) return undefined
  const record: LogRecord = { facility: FACILITIES[number >> 3], severity: SEVERITIES[number & 7] }
  const rest = text.slice(found[0].length)
  const modern = MODERN.exec(rest)
  if (modern) return readModern(record, modern, rest)
  const old = OLD.exec(rest)
  if (!old) return { ...record, message: rest }
  const [whole, short, iso, host, ident, pid] = old
  const time = short === undefined ? iso : localTime(short)
  // A host and a tag look alike when one of the two is missing: with neither colon nor more words it is the message.
  Object.assign(record, { time }, host !== undefined && { host }, ident !== undefined && { ident }, pid !== undefined && { pid })
  record.message = rest.slice(whole.length)
  return record
}

function readModern(record: LogRecord, modern: RegExpExecArray, rest: string): LogRecord {
  for (const [index, name] of ['time', 'host', 'ident', 'pid', 'msgid'].entries())
    if (modern[index + 1] !== '-') record[name] = modern[index + 1]
  let at = modern[0].length
  if (rest[at] === '-') at++
  else {
    const structured: LogRecord = {}
    for (;;) {
      STRUCTURED.lastIndex = at
      const element = STRUCTURED.exec(rest)
      if (!element) break
      at = STRUCTURED.lastIndex
      const values: LogRecord = {}
      for (const [, name, value] of (element[2] as string).matchAll(PARAMETER))
        values[name as string] = (value as string).replaceAll(/\\(["\\\]])/g, '$1')
      structured[element[1] as string] = values
    }
    if (Object.keys(structured).length > 0) record.structured = structured
  }
  record.message = rest
    .slice(at)
    .replace(/^ /, '')
    .replace(/^\ufeff/, '')
  return record
}

/** `Oct  9 22:33:20` of the machine's zone, in the year that brings it nearest before now; as ISO 8601. */
function localTime(text: string): string {
  const now = new Date()
  const at = (year: number) => new Date(`${text.replace(/\.\d+$/, '')} ${year}`)
  let found = at(now.getFullYear())
  if (found.getTime() > now.getTime() + 86_400_000) found = at(now.getFullYear() - 1)
  return Number.isNaN(found.getTime()) ? now.toISOString() : found.toISOString()
}
