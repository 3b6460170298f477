/** What a caller may try in order to reach /admin, or to leave /public. */
export const TRICKS: readonly string[] = [
  'admin',
  'ADMIN',
  'Admin/',
  '/admin',
  '//admin',
  './admin',
  'x/../admin',
  'public/../admin',
  'public/../../admin',
  'public%2F..%2Fadmin',
  'public%2f%2e%2e%2fadmin',
  '%2e%2e/admin',
  'public/%2e%2e/admin',
  'public/..%2Fadmin',
  '%61dmin',
  'public%252F..%252Fadmin',
  '%2561dmin',
  'public/%252e%252e/admin',
  '%25252e%25252e/admin',
  'public%25252F..%25252Fadmin',
  'admin;x',
  'admin;x=1/y',
  'public;/../admin',
  'public/..;/admin',
  'public/..%3B/admin',
  'public/..%253B/admin',
  'adm;in/x',
  'admin%00',
  'admin%2500',
  'public%00/../admin',
  'admin%0a',
  'admin%250a',
  'admin%20',
  'admin%09x',
  'admin%7f',
  'public\\..\\admin',
  'public%5C..%5Cadmin',
  'public%255C..%255Cadmin',
  '%5Cadmin',
  '%255Cadmin',
  'http://callee/admin',
  'http:%2F%2Fcallee%2Fadmin',
  'admin?x=/public',
  'public?/../admin',
  'public%3F/../admin',
  'public%23/../admin',
  'admin%23',
  'admin%253F',
  'admin%C0%AF',
  'public%C0%AF..%C0%AFadmin',
  'public%25C0%25AF..%25C0%25AFadmin',
  'public%EF%BC%8F..%EF%BC%8Fadmin',
  'public%u002f..%u002fadmin',
  'public/x%252F..%252F..%252Fadmin',
  'public/.../admin',
  'public/%2e/../admin',
]

/** The ways in which web servers read a request line: as it is, decoded once, without parameters, with backslashes as slashes. */
export function views(requestLine: string): string[] {
  const path = requestLine.split('?')[0] as string
  const found = new Set([path])
  let decoded = path
  try {
    decoded = decodeURIComponent(path)
  } catch {
    // Nobody reads it otherwise.
  }
  for (const one of [path, decoded]) {
    for (const view of [one, one.replace(/;[^/]*/g, ''), one.replaceAll('\\', '/'), one.replace(/;[^/]*/g, '').replaceAll('\\', '/')]) {
      found.add(view.split('\u0000')[0] as string)
      const kept: string[] = []
      for (const segment of view.split('/')) {
        if (segment === '..') kept.pop()
        else if (segment !== '' && segment !== '.') kept.push(segment)
      }
      found.add(`/${kept.join('/')}`)
    }
  }
  return [...found].map((view) => view.toLowerCase())
}
