// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that end a text for some readers
const CONTROL = /[\u0000-\u001f\u007f]/

/**
 * Every path that an HTTP app may take a delivered method for. A method reaches the app as it is, its `%XX` included, and the app's
 * server decodes once; whether it then takes `%2F` or `\` for a separator and drops `;parameters` is its own affair. So a call is
 * judged by each reading, the first being the method as written. Undefined: some reading is not a path at all.
 * @param method Normalised, without a leading slash.
 */
export function readings(method: string): readonly string[] | undefined {
  if (!/[%;\\]/.test(method)) return [`/${method}`]
  let decoded: string
  try {
    decoded = decodeURIComponent(method)
  } catch {
    return undefined
  }
  if (CONTROL.test(decoded)) return undefined
  const slashed = decoded.replaceAll('\\', '/')
  const all = [decoded, slashed, withoutParameters(decoded), withoutParameters(slashed)].map(clean)
  return [...new Set([`/${method}`, ...all])]
}

function withoutParameters(path: string): string {
  return path.replace(/;[^/]*/g, '')
}

/** With a leading slash, without empty, `.` or `..` segments, never above the root. */
function clean(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue
    if (segment === '..') kept.pop()
    else kept.push(segment)
  }
  return `/${kept.join('/')}`
}
