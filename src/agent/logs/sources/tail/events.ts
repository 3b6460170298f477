import { cleanTag, LogEvent } from '../../event.ts'
import { lineParser } from '../../formats/parser.ts'
import { timeParser } from '../../formats/time.ts'
import type { TailSpec } from '../../spec.ts'
import type { Group } from './assembler.ts'

/** Makes events of the lines of one file. Throws for a format that makes no sense. */
export type EventMaker = (groups: readonly Group[]) => { events: LogEvent[]; unparsed: number }

export function eventMaker(spec: TailSpec, tag: string, path: string): EventMaker {
  const { format = 'text', key = 'message', pathKey, multiline } = spec
  const fileTag = cleanTag(tag.replaceAll('*', path.replace(/^\/+/, '').replaceAll(/[/\s]+/g, '.')))
  const plain = format === 'text' || format === 'cri' || format === 'docker'
  const parse = plain ? undefined : lineParser(spec)
  const time = timeParser(undefined)
  const before = `{${JSON.stringify(key)}:`
  const after = `${pathKey === undefined ? '' : `,${JSON.stringify(pathKey)}:${JSON.stringify(path)}`}}`
  const text = ({ text, partial }: Group, now: number) =>
    new LogEvent(now, fileTag, undefined, `${before}${JSON.stringify(text)}${partial ? ',"partial":true' : ''}${after}`)
  return (groups) => {
    const now = Date.now()
    const events: LogEvent[] = []
    let unparsed = 0
    for (const group of groups) {
      if (group.text === '' && !multiline && !group.stream) continue
      const parsed = parse?.(group.text)
      if (parsed) {
        const { record, json } = parsed
        if (pathKey !== undefined) record[pathKey] = path
        events.push(new LogEvent(parsed.time ?? now, fileTag, record, pathKey === undefined ? json : undefined))
        continue
      }
      if (parse || group.odd) unparsed++
      const event = text(group, (group.time !== undefined ? time(group.time) : undefined) ?? now)
      if (group.stream !== undefined) {
        event.record.stream = group.stream
        event.changed()
      }
      events.push(event)
    }
    return { events, unparsed }
  }
}
