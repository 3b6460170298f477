import type { SourceSpec } from '../spec.ts'
import { formatOf } from './formats.ts'
import { FluentdError, type Section } from './section.ts'

/** One `<source>`. */
export function sourceOf(section: Section, warn: (message: string) => void): SourceSpec {
  const type = section.find('@type', 'type') ?? missing(section)
  const name = section.text('@id', 'id')
  section.ignore('@log_level')
  const named = name === undefined ? {} : { name }
  switch (type.value) {
    case 'tail':
      return { ...named, ...tail(section) }
    case 'forward':
      return { ...named, ...forward(section, warn) }
    case 'http':
      return { ...named, ...http(section, warn) }
    default:
      throw new FluentdError(type, `a source of type ${type.value} is not known here; known are tail, forward and http`)
  }
}

function missing(section: Section): never {
  throw new FluentdError(section.place, `<${section.name}> needs @type`)
}

function tail(section: Section): SourceSpec {
  const { multiline, ...format } = formatOf(section) ?? missingFormat(section)
  const paths = section
    .required('path')
    .split(',')
    .map((path) => path.trim())
  const optional = {
    exclude: section.list('exclude_path'),
    pathKey: section.text('path_key'),
    rotateWait: section.duration('rotate_wait'),
    positions: section.text('pos_file'),
    maxLine: section.size('max_line_size'),
    multiline: multiline && { ...multiline, timeout: section.duration('multiline_flush_interval') ?? '5s' },
  }
  // Files are found at once, known by their numbers, and read many lines at a time in any case.
  section.ignore(
    'refresh_interval',
    'follow_inodes',
    'read_lines_limit',
    'enable_watch_timer',
    'enable_stat_watcher',
    'open_on_every_update',
  )
  section.ignore(
    'pos_file_compaction_interval',
    'skip_refresh_on_startup',
    'ignore_repeated_permission_error',
    'read_bytes_limit_per_second',
  )
  const set = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined))
  return { tag: section.required('tag'), tail: { paths, from: section.flag('read_from_head') ? 'start' : 'end', ...format, ...set } }
}

function missingFormat(section: Section): never {
  throw new FluentdError(section.place, '<source> of type tail needs <parse>')
}

/** Fluentd listens on all addresses unless told; here nothing does. */
function address(section: Section, port: number, warn: (message: string) => void): { host?: string; port: number } {
  const host = section.text('bind')
  const number = section.number('port') ?? port
  if (host === undefined)
    warn(
      `${section.place.file}:${section.place.line}: port ${number} is opened for this machine only; write "bind 0.0.0.0" to open it for others`,
    )
  return { ...(host !== undefined && { host }), port: number }
}

function forward(section: Section, warn: (message: string) => void): SourceSpec {
  const security = section.one('security')
  const tag = section.text('tag')
  if (tag !== undefined) throw new FluentdError(section.place, 'tag of <source> of type forward is not acted on: events keep theirs')
  const maxMessage = section.size('chunk_size_limit')
  const hostname = security?.text('self_hostname')
  const key = security?.text('shared_key')
  const users = security?.flag('user_auth')
    ? security.all('user').map((user) => ({ name: user.required('username'), password: { value: user.required('password') } }))
    : undefined
  return {
    forward: {
      ...address(section, 24_224, warn),
      ...(maxMessage !== undefined && { maxMessage }),
      ...(hostname !== undefined && { hostname }),
      ...(key !== undefined && { sharedKey: { value: key } }),
      ...(users && { users }),
    },
  }
}

function http(section: Section, warn: (message: string) => void): SourceSpec {
  const maxBody = section.size('body_size_limit') ?? '32Mi'
  section.ignore('keepalive_timeout')
  return { http: { ...address(section, 9880, warn), maxBody } }
}
