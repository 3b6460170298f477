import type { FieldPattern, FilterSpec } from '../spec.ts'
import { expressionOf, formatOf } from './formats.ts'
import { FluentdError, type Parameter, type Section } from './section.ts'

/** One `<filter>`: what it does, step by step. */
export function filtersOf(section: Section): FilterSpec[] {
  const type = section.find('@type', 'type')
  if (!type) throw new FluentdError(section.place, '<filter> needs @type')
  section.ignore('@id', '@log_level')
  switch (type.value) {
    case 'grep':
      return [grep(section)]
    case 'record_transformer':
      return transformer(section)
    case 'parser':
      return [parser(section)]
    default:
      throw new FluentdError(type, `a filter of type ${type.value} is not known here; known are grep, record_transformer and parser`)
  }
}

/** `name`, `$.a.b` or `$['a']['b']`. */
export function fieldName(text: string): string {
  if (!text.startsWith('$')) return text
  return text
    .replace(/^\$\.?/, '')
    .replaceAll(/\[["']([^"']+)["']\]/g, '.$1')
    .replace(/^\./, '')
}

function grep(section: Section): FilterSpec {
  const pattern = (inner: Section): FieldPattern => {
    const found = inner.find('pattern')
    if (!found) throw new FluentdError(inner.place, `<${inner.name}> needs pattern`)
    return { field: fieldName(inner.required('key')), pattern: expressionOf(found.value, found, false) }
  }
  const old = (name: string) =>
    section.parameters
      .filter((parameter) => new RegExp(`^${name}\\d+$`).test(parameter.name))
      .map((parameter) => {
        section.ignore(parameter.name)
        const [, field = '', text = ''] = /^(\S+)\s+(.*)$/.exec(parameter.value) ?? []
        return { field: fieldName(field), pattern: expressionOf(text, parameter, false) }
      })
  const include = [...section.all('regexp').map(pattern), ...old('regexp')]
  const exclude = [...section.all('exclude').map(pattern), ...old('exclude')]
  return { grep: { ...(include.length > 0 && { include }), ...(exclude.length > 0 && { exclude }) } }
}

function transformer(section: Section): FilterSpec[] {
  if (section.flag('enable_ruby')) {
    // Often switched on where nothing needs it: what is Ruby is refused below.
  }
  section.ignore('auto_typecast')
  const steps: FilterSpec[] = []
  const keep = section.list('keep_keys')
  const renew = section.flag('renew_record')
  const record = section.one('record')
  const fields: Record<string, string> = {}
  for (const parameter of record?.parameters ?? []) {
    record?.ignore(parameter.name)
    fields[parameter.name] = template(parameter)
  }
  if (Object.keys(fields).length > 0) steps.push({ add: { fields } })
  const names = Object.keys(fields)
  if (renew) steps.push({ remove: { keep: [...(keep ?? []), ...names] } })
  const gone = section.list('remove_keys')
  if (gone) steps.push({ remove: { fields: gone.map(fieldName) } })
  return steps
}

function template(parameter: Parameter): string {
  return parameter.value.replaceAll(/\$\{([^}]*)\}/g, (whole, code: string) => {
    const name = code.trim()
    const fields = /^record((?:\[\s*["'][^"'\]]+["']\s*\])+)$/.exec(name)?.[1]
    if (fields !== undefined) return `\${field.${[...fields.matchAll(/["']([^"'\]]+)["']/g)].map(([, field]) => field).join('.')}}`
    if (/^(tag|time|hostname|tag_parts\[-?\d+\])$/.test(name)) return `\${${name}}`
    throw new FluentdError(
      parameter,
      `${whole} is Ruby, which does not run here; \${tag}, \${tag_parts[0]}, \${hostname}, \${time} and \${record["name"]} are understood`,
    )
  })
}

function parser(section: Section): FilterSpec {
  const format = formatOf(section)
  if (!format) throw new FluentdError(section.place, '<filter> of type parser needs <parse>')
  if (format.multiline) throw new FluentdError(section.place, 'the format multiline is for a tail')
  const { multiline: _, ...rest } = format
  const keepField = section.flag('remove_key_name_field') === false
  const reserve = section.flag('reserve_data') ?? false
  section.ignore('reserve_time', 'replace_invalid_sequence')
  return {
    parse: {
      field: fieldName(section.required('key_name')),
      ...rest,
      keep: reserve,
      keepField: reserve && (keepField || section.flag('remove_key_name_field') === undefined),
      onError: section.flag('emit_invalid_record_to_error') === false ? 'keep' : 'deadLetter',
    },
  }
}
