import { parseAllDocuments, stringify } from 'yaml'
import { allDrivers } from '../runtime/drivers.ts'

const SUSPECT = /pass|secret|token|key|credential|connectionstring|auth|cert|sas|dsn/i
const HIDDEN = '(hidden)'
/** Who logs in, in a URL that need not be a good one. */
const LOGIN = /\/\/[^\s"'<>]*@/g

/**
 * Resources without what is nobody's business: values of settings that their driver marks as sensitive, and of all whose name
 * sounds like one, and logins in URLs. Names of secrets stay. What is not YAML is left out.
 */
export async function redactResources(text: string): Promise<string> {
  const sensitive = new Map<string, Set<string>>()
  for (const { type, load } of await allDrivers())
    sensitive.set(type, new Set((await load()).metadata.filter((field) => field.sensitive).map((field) => field.name.toLowerCase())))
  const documents = parseAllDocuments(text)
  if ('empty' in documents) return ''
  return documents
    .map((document) => {
      if (document.errors.length > 0) return '# a document that is not YAML was left out\n'
      const resource: unknown = document.toJS()
      const { kind, spec } = (resource ?? {}) as { kind?: unknown; spec?: { type?: unknown } }
      const known = kind === 'Component' ? sensitive.get(String(spec?.type).toLowerCase()) : undefined
      return stringify(hide(resource, known))
    })
    .join('---\n')
}

function hide(value: unknown, known: ReadonlySet<string> | undefined): unknown {
  if (Array.isArray(value)) return value.map((item) => hide(item, known))
  if (typeof value === 'string') return value.replace(LOGIN, `//${HIDDEN}@`)
  if (value === null || typeof value !== 'object') return value
  const object = value as Record<string, unknown>
  // A pair of spec.metadata, or a header: its name tells what the value is.
  if (typeof object.name === 'string' && typeof object.value !== 'object' && 'value' in object) {
    return known?.has(object.name.toLowerCase()) || SUSPECT.test(object.name)
      ? { ...object, value: HIDDEN }
      : { ...object, value: hide(object.value, known) }
  }
  return Object.fromEntries(
    Object.entries(object).map(([name, item]) => {
      if (name === 'secretKeyRef' || name === 'secretStore') return [name, item]
      return [name, typeof item !== 'object' && SUSPECT.test(name) ? HIDDEN : hide(item, known)]
    }),
  )
}
