import type { LineFormat } from '../outputs/file.ts'
import type { ElasticsearchSpec, OutputSpec, TlsSpec } from '../spec.ts'
import { FluentdError, type Section } from './section.ts'

/** One `<match>`, several outputs when it is a copy. */
export function outputsOf(section: Section): OutputSpec[] {
  const type = section.find('@type', 'type')
  if (!type) throw new FluentdError(section.place, `<${section.name}> needs @type`)
  const name = section.text('@id', 'id')
  section.ignore('@log_level')
  const named = name === undefined ? {} : { name }
  switch (type.value) {
    case 'copy': {
      section.ignore('copy_mode')
      const stores = section.all('store')
      if (stores.length === 0) throw new FluentdError(section.place, '<match> of type copy needs <store>')
      return stores.flatMap(outputsOf)
    }
    case 'elasticsearch':
    case 'opensearch':
      return [{ ...named, elasticsearch: elasticsearch(section), ...buffered(section) }]
    case 'forward':
      return [{ ...named, forward: forward(section), ...buffered(section) }]
    case 'file':
      return [{ ...named, file: file(section), ...buffered(section) }]
    case 'stdout':
      return [{ ...named, stdout: { format: lineFormat(section, 'fluentd') }, ...buffered(section) }]
    case 'null':
      return [{ ...named, drop: {}, ...buffered(section) }]
    default:
      throw new FluentdError(
        type,
        `an output of type ${type.value} is not known here; known are elasticsearch, opensearch, forward, file, stdout, null and copy`,
      )
  }
}

/** Members that are set. */
function set<T extends object>(members: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T
}

function elasticsearch(section: Section): ElasticsearchSpec {
  const scheme = section.text('scheme') ?? 'http'
  const host = section.text('host') ?? 'localhost'
  const port = section.number('port') ?? 9200
  const path = (section.text('path') ?? '').replace(/^\/*(?=.)/, '/')
  const hosts = section.list('hosts')
  const urls = (hosts ?? [`${host}:${port}`]).map((each) =>
    /^https?:\/\//.test(each) ? each : `${scheme}://${/:\d+$/.test(each) ? each : `${each}:${port}`}${path}`,
  )
  const password = section.text('password')
  const tls = set<TlsSpec>({
    ca: section.text('ca_file'),
    certificate: section.text('client_cert'),
    key: section.text('client_key'),
    insecure: section.flag('ssl_verify') === false ? true : undefined,
  })
  const operation = section.find('write_operation')
  if (operation && operation.value !== 'create' && operation.value !== 'index')
    throw new FluentdError(operation, `write_operation is create or index here, not ${operation.value}`)
  const utc = section.find('utc_index')
  if (utc && utc.value !== 'true') throw new FluentdError(utc, 'the date in the name of an index is in UTC here')
  const gzip = section.find('compression_level')
  const tagKey = section.flag('include_tag_key')
  const key = section.text('tag_key') ?? 'tag'
  // What these tune is not here, or always so.
  section.ignore('reload_connections', 'reload_on_failure', 'reconnect_on_error', 'log_es_400_reason', 'suppress_type_name', 'type_name')
  section.ignore(
    'verify_es_version_at_startup',
    'default_elasticsearch_version',
    'max_retry_get_es_version',
    'verify_os_version_at_startup',
  )
  section.ignore('bulk_message_request_threshold', 'include_timestamp', 'default_opensearch_version')
  return set<ElasticsearchSpec>({
    urls,
    index: section.text('index_name') ?? 'fluentd',
    logstashFormat: section.flag('logstash_format'),
    logstashPrefix: section.text('logstash_prefix'),
    logstashDateFormat: section.text('logstash_dateformat'),
    pipeline: section.text('pipeline'),
    tagField: tagKey ? key : undefined,
    user: section.text('user'),
    password: password === undefined ? undefined : { value: password },
    operation: operation?.value as 'create' | 'index' | undefined,
    gzip: gzip && gzip.value !== 'no_compression' ? true : undefined,
    requestTimeout: section.duration('request_timeout'),
    tls: Object.keys(tls).length > 0 ? tls : undefined,
  })
}

function forward(section: Section): NonNullable<OutputSpec['forward']> {
  const servers = section.all('server')
  if (servers.length === 0) throw new FluentdError(section.place, '<match> of type forward needs <server>')
  // Those that stand by come last.
  const ordered = [...servers].sort((one, other) => Number(one.flag('standby') ?? false) - Number(other.flag('standby') ?? false))
  const addresses = ordered.map((server) => `${server.required('host')}:${server.number('port') ?? 24_224}`)
  for (const server of servers) server.ignore('name', 'username', 'password')
  const [first] = servers
  const security = section.one('security')
  const key = security?.text('shared_key')
  const password = first?.text('password')
  const compress = section.find('compress')
  if (compress && compress.value !== 'gzip' && compress.value !== 'text')
    throw new FluentdError(compress, `compress is text or gzip, not ${compress.value}`)
  const transport = section.find('transport')
  const secure = transport?.value === 'tls'
  const tls = set<TlsSpec>({
    ca: section.text('tls_cert_path'),
    certificate: section.text('tls_client_cert_path'),
    key: section.text('tls_client_private_key_path'),
    insecure: section.flag('tls_insecure_mode') ? true : undefined,
  })
  section.ignore(
    'heartbeat_type',
    'heartbeat_interval',
    'phi_threshold',
    'phi_failure_detector',
    'hard_timeout',
    'send_timeout',
    'connect_timeout',
  )
  section.ignore(
    'recover_wait',
    'dns_round_robin',
    'expire_dns_cache',
    'keepalive',
    'keepalive_timeout',
    'verify_connection_at_startup',
    'ignore_network_errors_at_startup',
  )
  return set<NonNullable<OutputSpec['forward']>>({
    servers: addresses,
    ack: section.flag('require_ack_response') ?? false,
    requestTimeout: section.duration('ack_response_timeout'),
    gzip: compress?.value === 'gzip' ? true : undefined,
    hostname: security?.text('self_hostname'),
    sharedKey: key === undefined ? undefined : { value: key },
    user: first?.text('username'),
    password: password === undefined ? undefined : { value: password },
    secure: secure ? true : undefined,
    tls: secure && Object.keys(tls).length > 0 ? tls : undefined,
  })
}

function lineFormat(section: Section, fallback: LineFormat): LineFormat {
  const inner = section.one('format')
  const type = inner?.find('@type') ?? section.find('format')
  switch (type?.value) {
    case undefined:
      return fallback
    case 'json':
      return 'record'
    case 'out_file':
      return 'fluentd'
    case 'single_value':
      inner?.ignore('message_key', 'add_newline')
      return 'message'
    default:
      throw new FluentdError(
        type ?? section.place,
        `the format ${type?.value} is not known here; known are json, out_file and single_value`,
      )
  }
}

/** One file for each day, or for each time slice, as Fluentd names them; what comes later is appended. */
function file(section: Section): NonNullable<OutputSpec['file']> {
  const path = section.required('path')
  const slice = section.one('buffer')?.duration('timekey') ?? '86400000ms'
  section.one('buffer')?.ignore('timekey_wait', 'timekey_use_utc')
  section.ignore('append')
  const milliseconds = Number.parseInt(slice, 10)
  const date = milliseconds >= 86_400_000 ? '%Y%m%d' : milliseconds >= 3_600_000 ? '%Y%m%d%H' : '%Y%m%d%H%M'
  const suffix = section.flag('add_path_suffix') === false ? '' : (section.text('path_suffix') ?? '.log')
  const dated = path.includes('%') ? path : path.includes('*') ? path.replace('*', date) : `${path}.${date}`
  return { path: dated.endsWith(suffix) ? dated : `${dated}${suffix}`, format: lineFormat(section, 'fluentd') }
}

/** `<buffer>`, or its parameters of old. */
function buffered(section: Section): Pick<OutputSpec, 'batch' | 'retry'> {
  const buffer = section.one('buffer') ?? section
  // Events are on disk in any case, sources wait at the bound, and one writer keeps their order.
  buffer.ignore(
    '@type',
    'buffer_type',
    'path',
    'flush_thread_count',
    'flush_thread_interval',
    'flush_thread_burst_interval',
    'flush_at_shutdown',
  )
  buffer.ignore('num_threads', 'retry_randomize', 'compress_chunk')
  buffer.ignore('total_limit_size', 'retry_forever', 'disable_retry_limit')
  const overflow = buffer.find('overflow_action')
  if (overflow && overflow.value !== 'block')
    throw new FluentdError(overflow, `overflow_action ${overflow.value} would lose events: sources wait here (block)`)
  const kind = buffer.find('retry_type')
  if (kind && kind.value !== 'exponential_backoff') throw new FluentdError(kind, 'retry_type is exponential_backoff here')
  const times = buffer.number('retry_max_times', 'retry_limit')
  const mode = buffer.find('flush_mode')
  const immediate = mode?.value === 'immediate' ? '10ms' : undefined
  const batch = set<NonNullable<OutputSpec['batch']>>({
    flushInterval: immediate ?? buffer.duration('flush_interval'),
    maxBytes: buffer.size('chunk_limit_size', 'buffer_chunk_limit'),
    maxEvents: buffer.number('chunk_limit_records'),
  })
  const retry = set<NonNullable<OutputSpec['retry']>>({
    initial: buffer.duration('retry_wait'),
    max: buffer.duration('retry_max_interval', 'max_retry_wait'),
    attempts: times === undefined ? undefined : times + 1,
  })
  return { ...(Object.keys(batch).length > 0 && { batch }), ...(Object.keys(retry).length > 0 && { retry }) }
}
