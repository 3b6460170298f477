import { messageOf } from '../../errors.ts'
import { MetadataError } from '../metadata.ts'

/** A regular expression as Go writes it, flags in front (`(?i)…`) and named groups included. Throws MetadataError naming the field. */
export function parsePattern(field: string, text: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(text)
  try {
    const pattern = flags ? text.slice(flags[0].length) : text
    return new RegExp(pattern.replaceAll('(?P<', '(?<'), flags?.[1])
  } catch (error) {
    throw new MetadataError(`metadata field ${field}: ${messageOf(error)}`)
  }
}

/** The path of a request without its escapes, as rules are written. */
export function plainPath(path: string): string {
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
