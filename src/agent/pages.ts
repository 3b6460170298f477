/** Pages in Prometheus's text format as one: a family that several have, roles of one kind, stands in it once, with all its rows. */
export function joinedPages(pages: readonly string[]): string {
  const given = pages.filter((page) => page !== '')
  if (given.length < 2) return given.join('')
  const families = new Map<string, { head: string; rows: string }>()
  for (const page of given) {
    for (const part of page.split(/^(?=# HELP )/m)) {
      const end = part.search(/^[^#]/m)
      const head = end < 0 ? part : part.slice(0, end)
      const name = /^# (?:HELP|TYPE) (\S+)/.exec(head)?.[1] ?? part
      const known = families.get(name)
      const rows = end < 0 ? '' : part.slice(end)
      if (known) known.rows += rows
      else families.set(name, { head, rows })
    }
  }
  return [...families.values()].map(({ head, rows }) => head + rows).join('')
}
