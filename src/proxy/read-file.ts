import { readFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { messageOf } from '../errors.ts'
import { splitDocuments } from '../resources/documents.ts'
import { checkProxy, type ProxySpec } from '../resources/proxy-schema.ts'
import { schemaOf } from '../resources/schema.ts'
import { OUTRIDER_V1 } from '../resources/traffic-schema.ts'
import { convert } from './own/convert.ts'
import { readProxy } from './read.ts'

/** The spec that a file has: of a Proxy of our own, or one that names the file as a configuration of Envoy. Throws with what is wrong. */
export function specOfFile(file: string, lenient: boolean): ProxySpec {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new Error(`${file} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const documents = splitDocuments(text)
  const own = documents.find((one) => one.text(['kind']) === 'Proxy')
  if (!own) return { envoy: file, lenient }
  const { value, problems } = own.read(schemaOf('Proxy') ?? {})
  if (problems.length > 0) throw new Error(problems.map(({ line, message }) => `${file}:${line}: ${message}`).join('\n'))
  const { spec = {} } = value as { spec?: ProxySpec }
  const wrong = checkProxy(spec as Record<string, unknown>)
  if (wrong) throw new Error(`${file}:${own.positionOf(wrong.path ?? []).line}: ${wrong.message}`)
  return spec
}

export interface ConvertedFile {
  /** A Proxy of our own, with what is not quite the same in front. */
  text: string
  lost: readonly string[]
}

/** A configuration of Envoy as a Proxy of our own. */
export function convertFile(file: string, name: string, lenient: boolean): ConvertedFile {
  const { spec, changed, lost } = convert(readProxy({ envoy: file, lenient }).model)
  const remarks = [...lost.map((one) => `# Not said: ${one}`), ...changed.map((one) => `# Not quite the same: ${one}`)]
  const document = { apiVersion: OUTRIDER_V1, kind: 'Proxy', metadata: { name }, spec }
  return { text: `${remarks.map((one) => `${one}\n`).join('')}${stringify(document, { lineWidth: 0 })}`, lost }
}
