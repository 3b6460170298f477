import { type LogRecord, removeField, textOf } from '../event.ts'
import { lineParser } from '../formats/parser.ts'
import { timeParser } from '../formats/time.ts'
import { parseCri, parseDocker } from '../sources/tail/container.ts'
import type { ParseSpec } from '../spec.ts'
import type { Filter, FilterContext } from './filter.ts'

/** Reads the text of a field into fields. */
export function parse(spec: ParseSpec, { unparsed }: FilterContext): Filter {
  const { field = 'message', keep = true, keepField = false, onError = 'keep', format = 'json' } = spec
  const read =
    format === 'text' ? undefined : format === 'cri' || format === 'docker' ? containerParser(format) : lineParser({ ...spec, format })
  return (event) => {
    const text = textOf(event.record, field)
    const found = text === undefined ? undefined : read?.(text)
    if (!found) {
      // Without the field there is nothing that could have been read.
      if (text === undefined || !read) return 'keep'
      unparsed(1)
      return onError === 'keep' ? 'keep' : { refused: `field ${field} is no ${format}` }
    }
    const { record } = event
    if (keep) {
      if (!keepField) removeField(record, field)
      Object.assign(record, found.record)
      event.changed()
    } else event.record = keepField ? { [field]: text, ...found.record } : found.record
    if (found.time !== undefined) event.time = found.time
    return 'keep'
  }
}

function containerParser(format: 'cri' | 'docker') {
  const unwrap = format === 'cri' ? parseCri : parseDocker
  const time = timeParser(undefined)
  return (text: string): { record: LogRecord; time: number | undefined } | undefined => {
    const line = unwrap(text)
    return line && { record: { message: line.message, stream: line.stream }, time: line.time === undefined ? undefined : time(line.time) }
  }
}
