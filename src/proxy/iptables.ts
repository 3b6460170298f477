import { spawnSync } from 'node:child_process'

export interface RedirectOptions {
  /** Port of the proxy that takes what the application sends. */
  outbound: number
  /** Port of the proxy that takes what is sent to the application; undefined: that is left alone. */
  inbound: number | undefined
  /** User of the proxy, whose own connections are left alone. */
  uid: number
  /** Destination ports that are left alone, both ways. */
  excludePorts: readonly number[]
  /** Destinations that are left alone, as 10.0.0.0/8 or fd00::/8. */
  excludeRanges: readonly string[]
  /** Only what this user sends is redirected; undefined: everybody's. */
  onlyUid: number | undefined
}

const OUT = 'OUTRIDER_OUT'
const IN = 'OUTRIDER_IN'

type Family = 'ipv4' | 'ipv6'
const TOOL: Readonly<Record<Family, string>> = { ipv4: 'iptables', ipv6: 'ip6tables' }

/** Rules of the chains of our own, one an item, without the tool and the table. */
function rules(family: Family, { outbound, inbound, uid, excludePorts, excludeRanges, onlyUid }: RedirectOptions): string[] {
  const local = family === 'ipv4' ? '127.0.0.0/8' : '::1/128'
  const ranges = excludeRanges.filter((range) => range.includes(':') === (family === 'ipv6'))
  const ports = (chain: string) => excludePorts.map((port) => `-A ${chain} -p tcp --dport ${port} -j RETURN`)
  const found = [
    // Else the proxy would be sent its own connections.
    `-A ${OUT} -m owner --uid-owner ${uid} -j RETURN`,
    ...(onlyUid === undefined ? [] : [`-A ${OUT} -m owner ! --uid-owner ${onlyUid} -j RETURN`]),
    `-A ${OUT} -d ${local} -j RETURN`,
    ...ranges.map((range) => `-A ${OUT} -d ${range} -j RETURN`),
    ...ports(OUT),
    `-A ${OUT} -p tcp -j REDIRECT --to-ports ${outbound}`,
  ]
  if (inbound === undefined) return found
  return [...found, ...ports(IN), `-A ${IN} -p tcp --dport ${inbound} -j RETURN`, `-A ${IN} -p tcp -j REDIRECT --to-ports ${inbound}`]
}

/** What sends connections into the chains of our own. */
function jumps({ inbound }: RedirectOptions): string[] {
  return [`OUTPUT -p tcp -j ${OUT}`, ...(inbound === undefined ? [] : [`PREROUTING -p tcp -j ${IN}`])]
}

/** Input for iptables-restore --noflush, which puts all of it in at once: our chains anew, and what jumps there. */
export function restoreText(family: Family, options: RedirectOptions, jumping: readonly string[] = jumps(options)): string {
  const chains = [OUT, ...(options.inbound === undefined ? [] : [IN])]
  return [
    '*nat',
    ...chains.map((chain) => `:${chain} - [0:0]`),
    ...rules(family, options),
    ...jumping.map((jump) => `-A ${jump}`),
    'COMMIT',
    '',
  ].join('\n')
}

function run(tool: string, args: readonly string[], input?: string): { ok: boolean; error: string } {
  // The tools are where not everybody's PATH leads.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
  const { status, stderr, error } = spawnSync(tool, args, { encoding: 'utf8', env, ...(input !== undefined && { input }) })
  return { ok: status === 0, error: error ? error.message : stderr.trim() }
}

/** Puts the rules in, in place of those of before. Throws with what the tool says. */
export function install(family: Family, options: RedirectOptions): void {
  const tool = TOOL[family]
  const missing = jumps(options).filter((jump) => !run(tool, ['-w', '-t', 'nat', '-C', ...jump.split(' ')]).ok)
  // What an earlier call redirected and this one does not.
  if (options.inbound === undefined) removeChain(tool, `PREROUTING -p tcp -j ${IN}`, IN)
  const { ok, error } = run(`${tool}-restore`, ['-w', '--noflush'], restoreText(family, options, missing))
  if (!ok) throw new Error(`${tool}-restore: ${error || 'it failed'}; it needs root (CAP_NET_ADMIN)`)
}

/** Takes the rules out, if they are there. */
export function remove(family: Family): void {
  const tool = TOOL[family]
  removeChain(tool, `OUTPUT -p tcp -j ${OUT}`, OUT)
  removeChain(tool, `PREROUTING -p tcp -j ${IN}`, IN)
}

function removeChain(tool: string, jump: string, chain: string): void {
  const table = ['-w', '-t', 'nat']
  // As often as it is there: somebody may have put it in by hand.
  for (let times = 0; times < 100 && run(tool, [...table, '-D', ...jump.split(' ')]).ok; times++);
  if (!run(tool, [...table, '-F', chain]).ok) return
  const { ok, error } = run(tool, [...table, '-X', chain])
  if (!ok) throw new Error(`${tool}: the chain ${chain} cannot be removed: ${error}`)
}
