import type { FormatSpec } from './formats/parser.ts'
import type { LineFormat } from './outputs/file.ts'

/** A LogPipeline's spec as it comes through its schema (resources/log-pipeline-schema.ts); durations and quantities are still text. */
export interface LogPipelineSpec {
  sources?: readonly SourceSpec[]
  filters?: readonly FilterSpec[]
  buffer?: { maxBytes?: string; segmentBytes?: string; synchronous?: 'normal' | 'full' }
  outputs?: readonly OutputSpec[]
  deadLetter?: { folder?: string; maxBytes?: string }
  fluentd?: { file?: string; config?: string; lenient?: boolean }
}

/** Text that may stand elsewhere: in the environment, or in a secret store. */
export interface SecretText {
  value?: string
  envRef?: string
  secretStore?: string
  secretKeyRef?: { name: string; key?: string }
}

export interface SourceSpec {
  name?: string
  tag?: string
  tail?: TailSpec
  http?: HttpSourceSpec
  forward?: ForwardSourceSpec
  syslog?: SyslogSourceSpec
}

export interface TailSpec extends FormatSpec {
  paths: readonly string[]
  exclude?: readonly string[]
  from?: 'start' | 'end'
  key?: string
  pathKey?: string
  multiline?: { start?: string; continue?: string; timeout?: string; maxLines?: number }
  maxLine?: string
  poll?: string
  rotateWait?: string
  maxFiles?: number
  positions?: string
}

export interface HttpSourceSpec {
  path?: string
  port?: number
  host?: string
  maxBody?: string
}

export interface ForwardSourceSpec {
  port?: number
  host?: string
  sharedKey?: SecretText
  users?: readonly { name: string; password: SecretText }[]
  hostname?: string
  maxMessage?: string
}

export interface SyslogSourceSpec {
  port?: number
  host?: string
  protocol?: 'udp' | 'tcp' | 'both'
}

export interface FieldPattern {
  field: string
  pattern: string
}

export interface ParseSpec extends FormatSpec {
  field?: string
  keep?: boolean
  keepField?: boolean
  onError?: 'keep' | 'deadLetter'
}

export interface FilterSpec {
  match?: string
  /** Only from Fluentd's configuration, where what comes behind a match does not see its events. */
  except?: string
  parse?: ParseSpec
  grep?: { include?: readonly FieldPattern[]; exclude?: readonly FieldPattern[] }
  add?: { fields: Readonly<Record<string, string>> }
  remove?: { fields?: readonly string[]; keep?: readonly string[] }
  redact?: { fields?: readonly string[]; patterns?: readonly string[]; kinds?: readonly string[]; with?: string }
  sample?: { percent: number; by?: string }
}

export interface TlsSpec {
  ca?: string
  certificate?: string
  key?: string
  insecure?: boolean
}

/** What outputs over HTTP share. */
export interface WebSpec {
  headers?: Readonly<Record<string, SecretText>>
  user?: string
  password?: SecretText
  tls?: TlsSpec
  gzip?: boolean
  requestTimeout?: string
}

export interface ElasticsearchSpec extends WebSpec {
  urls: readonly string[]
  index?: string
  logstashFormat?: boolean
  logstashPrefix?: string
  logstashDateFormat?: string
  timestampField?: string
  tagField?: string
  pipeline?: string
  ids?: boolean
  operation?: 'create' | 'index'
  apiKey?: SecretText
}

export interface LokiSpec extends WebSpec {
  url: string
  labels?: Readonly<Record<string, string>>
  line?: 'json' | 'message'
  maxStreams?: number
  tenant?: string
}

export interface OtlpSpec extends WebSpec {
  endpoint: string
  protocol?: 'http' | 'grpc'
  secure?: boolean
  resource?: Readonly<Record<string, string>>
  bodyField?: string
  severityField?: string
}

export interface HttpOutputSpec extends WebSpec {
  url: string
  method?: 'POST' | 'PUT'
  format?: 'json' | 'ndjson'
}

export interface ForwardOutputSpec {
  servers: readonly string[]
  ack?: boolean
  gzip?: boolean
  sharedKey?: SecretText
  user?: string
  password?: SecretText
  hostname?: string
  secure?: boolean
  tls?: TlsSpec
  requestTimeout?: string
}

export interface SyslogOutputSpec {
  server: string
  protocol?: 'udp' | 'tcp'
  messageField?: string
  facility?: number
  appName?: string
}

export interface PubSubOutputSpec {
  component: string
  topic: string
  raw?: boolean
}

export interface OutputSpec {
  name?: string
  match?: string
  except?: string
  stdout?: { format?: LineFormat }
  file?: { path: string; format?: LineFormat; maxBytes?: string; keep?: number }
  http?: HttpOutputSpec
  elasticsearch?: ElasticsearchSpec
  loki?: LokiSpec
  otlp?: OtlpSpec
  forward?: ForwardOutputSpec
  syslog?: SyslogOutputSpec
  pubsub?: PubSubOutputSpec
  drop?: Record<string, never>
  batch?: { maxEvents?: number; maxBytes?: string; flushInterval?: string }
  retry?: { initial?: string; max?: string; attempts?: number }
}
