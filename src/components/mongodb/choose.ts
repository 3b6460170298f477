import type { Description } from './description.ts'
import type { Members, Server } from './members.ts'
import type { ReadMode } from './uri-options.ts'

/** Which servers may be read (Server Selection specification). */
export interface ReadPreference {
  mode: ReadMode
  /** Sets of tags; the first that some server has counts. Empty: any server. */
  tags: readonly Readonly<Record<string, string>>[]
  /** Servers that are slower than the fastest by more than this are not asked, milliseconds. */
  threshold: number
}

let turn = 0

/** The server for a write, or by `preference` for a read; undefined: none that is known. */
export function choose(members: Members, preference?: ReadPreference): Server | undefined {
  if (members.kind === 'set') return preference ? ofSet(members, preference) : members.primary
  const known = [...members.servers.values()].filter(({ description }) => description && description.kind !== 'ghost')
  if (members.kind === 'single') return known[0]
  return members.kind === 'sharded' ? near(known, preference?.threshold ?? 15) : undefined
}

function ofSet(members: Members, { mode, tags, threshold }: ReadPreference): Server | undefined {
  const { primary } = members
  if (mode === 'primary' || (mode === 'primaryPreferred' && primary)) return primary
  const all = [...members.servers.values()]
  const readable = all.filter(
    ({ description }) => description?.kind === 'secondary' || (mode === 'nearest' && description?.kind === 'primary'),
  )
  const tagged =
    tags.length === 0 ? readable : (tags.map((one) => readable.filter((server) => has(server, one))).find((found) => found.length) ?? [])
  return near(tagged, threshold) ?? (mode === 'secondaryPreferred' ? primary : undefined)
}

function has({ description }: Server, tags: Readonly<Record<string, string>>): boolean {
  return Object.entries(tags).every(([name, value]) => description?.tags[name] === value)
}

function near(servers: readonly Server[], threshold: number): Server | undefined {
  const least = Math.min(...servers.map(({ description }) => (description as Description).roundTrip))
  const close = servers.filter(({ description }) => (description as Description).roundTrip <= least + threshold)
  return close[turn++ % close.length]
}
