import { messageOf } from '../../errors.ts'
import { compileValue } from '../http/format.ts'
import { wholeRegex } from '../http/match.ts'
import type { FieldMatch, HeaderChange, HeaderChanges, TextMatch } from '../model/match.ts'
import { HEADER_NAME } from '../model/match.ts'
import type { TextSource } from '../model/tls.ts'
import type { ConfigNode } from './reader.ts'

/** An extension by the kind that its `@type` ends with, or that its old short name stands for. */
export interface Extension {
  kind: string
  name: string
  config: ConfigNode | undefined
  node: ConfigNode
}

/** Names that extensions had and have, where no `@type` says what they are. */
const BY_NAME: Readonly<Record<string, string>> = {
  'envoy.http_connection_manager': 'HttpConnectionManager',
  'envoy.filters.network.http_connection_manager': 'HttpConnectionManager',
  'envoy.tcp_proxy': 'TcpProxy',
  'envoy.filters.network.tcp_proxy': 'TcpProxy',
  'envoy.filters.network.rbac': 'RBAC',
  'envoy.router': 'Router',
  'envoy.filters.http.router': 'Router',
  'envoy.cors': 'Cors',
  'envoy.filters.http.cors': 'Cors',
  'envoy.fault': 'HTTPFault',
  'envoy.filters.http.fault': 'HTTPFault',
  'envoy.filters.http.rbac': 'RBAC',
  'envoy.filters.http.local_ratelimit': 'LocalRateLimit',
  'envoy.health_check': 'HealthCheck',
  'envoy.filters.http.health_check': 'HealthCheck',
  'envoy.buffer': 'Buffer',
  'envoy.filters.http.buffer': 'Buffer',
  'envoy.file_access_log': 'FileAccessLog',
  'envoy.access_loggers.file': 'FileAccessLog',
  'envoy.access_loggers.stdout': 'StdoutAccessLog',
  'envoy.access_loggers.stderr': 'StderrAccessLog',
  'envoy.listener.tls_inspector': 'TlsInspector',
  'envoy.filters.listener.tls_inspector': 'TlsInspector',
  'envoy.listener.http_inspector': 'HttpInspector',
  'envoy.filters.listener.http_inspector': 'HttpInspector',
  'envoy.listener.original_dst': 'OriginalDst',
  'envoy.filters.listener.original_dst': 'OriginalDst',
  'envoy.transport_sockets.tls': 'Tls',
  tls: 'Tls',
}

export function extension(node: ConfigNode): Extension {
  const name = node.text('name', '')
  const typed = node.get('typed_config')
  const config = typed ?? node.get('config')
  const type = config?.text('@type')
  const kind = type === undefined ? (BY_NAME[name] ?? '') : (type.split('/').at(-1)?.split('.').at(-1) ?? '')
  return { kind, name: name || kind, config, node }
}

/** StringMatcher, and with `regex` RegexMatcher under the name it has there. */
export function stringMatch(node: ConfigNode): TextMatch {
  const which = node.oneOf('exact', 'prefix', 'suffix', 'contains', 'safe_regex', 'regex')
  const ignoreCase = node.flag('ignore_case', false) ? { ignoreCase: true as const } : {}
  if (which === 'safe_regex') return { regex: regex(node.need('safe_regex')), ...ignoreCase }
  if (which === 'regex') return { regex: checkedRegex(node.need('regex')), ...ignoreCase }
  return which === undefined ? { exact: '' } : { [which]: node.text(which, ''), ...ignoreCase }
}

/** RegexMatcher: its pattern. RE2's own size limits have nothing to limit here. */
export function regex(node: ConfigNode): string {
  node.accept('google_re2')
  return checkedRegex(node.need('regex'))
}

function checkedRegex(node: ConfigNode): string {
  const source = node.asText()
  try {
    wholeRegex(source)
  } catch (error) {
    node.complain(`is no regular expression here: ${messageOf(error)}`)
    return ''
  }
  return source
}

/** HeaderMatcher of all versions. */
export function headerMatch(node: ConfigNode): FieldMatch {
  const name = node.text('name', '')
  if (name === '') node.complain('lacks name')
  const not = node.flag('invert_match', false) ? { not: true as const } : {}
  for (const kind of ['exact', 'prefix', 'suffix', 'contains'] as const)
    if (node.has(`${kind}_match`)) return { name, [kind]: node.text(`${kind}_match`, ''), ...not }
  const pattern = node.get('safe_regex_match')
  if (pattern) return { name, regex: regex(pattern), ...not }
  const plain = node.get('regex_match')
  if (plain) return { name, regex: checkedRegex(plain), ...not }
  const text = node.get('string_match')
  if (text) return { name, ...stringMatch(text), ...not }
  const range = node.get('range_match')
  if (range) {
    const most = Number.MAX_SAFE_INTEGER
    return { name, range: { from: range.number('start', 0, -most, most), to: range.number('end', 0, -most, most) }, ...not }
  }
  const present = node.flag('present_match', true)
  return { name, present: true, ...(present === (not.not === true) ? { not: true } : {}) }
}

export function queryMatch(node: ConfigNode): FieldMatch {
  const name = node.text('name', '')
  const text = node.get('string_match')
  if (text) return { name, ...stringMatch(text) }
  const value = node.text('value')
  if (value !== undefined) return node.flag('regex', false) ? { name, regex: value } : { name, exact: value }
  return node.flag('present_match', true) ? { name, present: true } : { name, present: true, not: true }
}

/** FractionalPercent, Percent, or one of them as the default of a runtime key, in percent. */
export function percent(node: ConfigNode | undefined, fallback: number): number {
  if (!node) return fallback
  node.accept('runtime_key')
  const inner = node.get('default_value')
  if (inner) return typeof inner.value === 'number' ? Math.min(100, inner.value) : percent(inner, fallback)
  if (node.has('value')) return node.number('value', fallback, 0, 100)
  const numerator = node.number('numerator', 0)
  const of = node.choice('denominator', { HUNDRED: '100', TEN_THOUSAND: '10000', MILLION: '1000000' }, '100')
  return Math.min(100, (numerator * 100) / Number(of))
}

export function dataSource(node: ConfigNode): TextSource {
  const which = node.oneOf('filename', 'inline_string', 'inline_bytes', 'environment_variable')
  if (which === 'filename') return { file: node.text('filename', '') }
  if (which === 'environment_variable') return { env: node.text('environment_variable', '') }
  if (which === 'inline_bytes') return { text: Buffer.from(node.text('inline_bytes', ''), 'base64').toString() }
  return { text: node.text('inline_string', '') }
}

const HOW: Readonly<Record<string, HeaderChange['how']>> = {
  APPEND_IF_EXISTS_OR_ADD: 'append',
  ADD_IF_ABSENT: 'if-absent',
  OVERWRITE_IF_EXISTS_OR_ADD: 'overwrite',
}

/** `<which>_headers_to_add` and `…_to_remove`; without `remove` only the former. */
export function headerChanges(node: ConfigNode, which: 'request' | 'response', remove = true): HeaderChanges {
  return {
    add: node.list(`${which}_headers_to_add`).map(headerOption),
    remove: remove ? node.list(`${which}_headers_to_remove`).map((item) => headerName(item)) : [],
  }
}

export function headerOption(node: ConfigNode): HeaderChange {
  const header = node.need('header')
  const name = headerName(header.need('key'))
  const value = header.text('value', '')
  try {
    compileValue(value)
  } catch (error) {
    header.get('value')?.unsupported(`cannot be used: ${messageOf(error)}`)
  }
  const append = node.has('append') ? (node.flag('append', true) ? 'append' : 'overwrite') : 'append'
  return { name, value, how: node.choice('append_action', HOW, append) }
}

function headerName(node: ConfigNode): string {
  const name = node.asText()
  if (!HEADER_NAME.test(name)) node.unsupported(`must be the name of a header that may be changed, not ${JSON.stringify(name)}`)
  return name.toLowerCase()
}

export interface Address {
  host: string
  port: number
  path?: string
}

export function address(node: ConfigNode): Address {
  const pipe = node.get('pipe')
  if (pipe) return { host: '', port: 0, path: pipe.text('path', '') }
  const socket = node.need('socket_address')
  socket.choice('protocol', { TCP: 'tcp' })
  return { host: socket.text('address', ''), port: socket.number('port_value', 0, 0, 65_535) }
}

export function range(node: ConfigNode): string {
  const prefix = node.text('address_prefix', '')
  const length = node.number('prefix_len')
  return length === undefined ? prefix : `${prefix}/${length}`
}
