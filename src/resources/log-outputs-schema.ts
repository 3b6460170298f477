// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.

import { duration, object, text } from './agent-schema.ts'
import type { Schema } from './json-schema.ts'
import { described, list, quantity, secretText } from './log-schema-words.ts'

const headers = described('Further headers.', { type: 'object', additionalProperties: secretText('Value of the header.') })
const tls = described(
  'For TLS.',
  object({
    ca: text('Path of a PEM file of the authorities that are trusted. Default: those of Node.'),
    certificate: text('Path of a client certificate.'),
    key: text('Path of its key.'),
    insecure: { type: 'boolean', description: 'Do not check the certificate.' },
  }),
)
const requestTimeout = duration('For one request. Default 30s.')
const gzip: Schema = { type: 'boolean', description: 'Compress bodies. Default false.' }
const labels: Schema = { type: 'object', additionalProperties: { 'x-text': true } }

const elasticsearch = object(
  {
    urls: described('Nodes; the next one is tried when one does not answer.', list(text('http(s)://host:port'), 1)),
    index: text('Name of the index or data stream; %Y.%m.%d and ${tag}, ${field.name} are filled in. Default logs.'),
    logstashFormat: { type: 'boolean', description: 'Index is <logstashPrefix>-<date>, and `@timestamp` is set. Default false.' },
    logstashPrefix: text('Default logstash.'),
    logstashDateFormat: text('Default %Y.%m.%d.'),
    timestampField: text('Field for the time of the event; default `@timestamp`.'),
    tagField: text('Field for the tag. Default: none.'),
    pipeline: text('Ingest pipeline.'),
    ids: { type: 'boolean', description: 'Give each event an id of its own, so that one that is sent twice is there once. Default true.' },
    operation: { type: 'string', enum: ['create', 'index'], description: 'Default create.' },
    user: text('For basic authentication.'),
    password: secretText('For basic authentication.'),
    apiKey: secretText('Sent as `Authorization: ApiKey …`.'),
    headers,
    tls,
    gzip,
    requestTimeout,
  },
  ['urls'],
)

const loki = object(
  {
    url: text('http(s)://host:port; /loki/api/v1/push is added when there is no path.'),
    labels: described('Labels of the streams; ${tag}, ${hostname}, ${env.NAME} and ${field.name} are filled in.', labels),
    line: {
      type: 'string',
      enum: ['json', 'message'],
      description: 'What the line is: the whole event as JSON (default), or its field `message`.',
    },
    maxStreams: {
      type: 'integer',
      minimum: 1,
      maximum: 10_000,
      description: 'Label sets; later ones go to the stream with `overflow="true"` and no labels of fields. Default 1000.',
    },
    tenant: text('X-Scope-OrgID.'),
    user: text('For basic authentication.'),
    password: secretText('For basic authentication.'),
    headers,
    tls,
    gzip,
    requestTimeout,
  },
  ['url'],
)

const otlp = object(
  {
    endpoint: text('host:port for gRPC; URL for HTTP, /v1/logs is added when there is no path.'),
    protocol: { type: 'string', enum: ['http', 'grpc'], description: 'Default http (protobuf).' },
    secure: { type: 'boolean', description: 'TLS, for gRPC. Default false.' },
    resource: described('Attributes of the resource; service.name is the app id unless given.', labels),
    bodyField: text('Field that becomes the body; the others become attributes. Default message.'),
    severityField: text('Field that the severity is read from. Default level.'),
    headers,
    tls,
    gzip,
    requestTimeout,
  },
  ['endpoint'],
)

const http = object(
  {
    url: text('Where events are posted.'),
    method: { type: 'string', enum: ['POST', 'PUT'], description: 'Default POST.' },
    format: { type: 'string', enum: ['json', 'ndjson'], description: 'One array, or one event a line (default).' },
    headers,
    user: text('For basic authentication.'),
    password: secretText('For basic authentication.'),
    tls,
    gzip,
    requestTimeout,
  },
  ['url'],
)

const file = object(
  {
    path: text('%Y, %m, %d, %H, %M, ${tag} and ${hostname} are filled in.'),
    format: {
      type: 'string',
      enum: ['json', 'record', 'fluentd', 'message'],
      description:
        'json: one object a line with `time` and `tag` (default). record: its fields alone. fluentd: time, tag and JSON with tabs. message: that field alone.',
    },
    maxBytes: quantity('A file that is larger is moved aside as <path>.1. Default: never.'),
    keep: { type: 'integer', minimum: 1, maximum: 1000, description: 'Files moved aside that stay. Default 5.' },
  },
  ['path'],
)
const stdout = object({ format: file.properties?.format as Schema })

const forward = object(
  {
    servers: described('Servers; the next one is tried when one does not answer.', list(text('host:port'), 1)),
    ack: {
      type: 'boolean',
      description: 'Wait for the answer of the server. Default true; without it what is under way is lost with the connection.',
    },
    gzip: { type: 'boolean', description: 'CompressedPackedForward. Default false.' },
    sharedKey: secretText('Shown in the handshake.'),
    user: text('User name for the handshake.'),
    password: secretText('Its password.'),
    hostname: text('What this end calls itself in the handshake. Default: the name of the machine.'),
    secure: { type: 'boolean', description: 'TLS. Default false.' },
    tls,
    requestTimeout,
  },
  ['servers'],
)

const syslog = object(
  {
    server: text('host:port'),
    protocol: {
      type: 'string',
      enum: ['udp', 'tcp'],
      description: 'Default tcp, with octet counting; no answer tells that an event has come.',
    },
    messageField: text('Default message; an event without it is sent as JSON.'),
    facility: { type: 'integer', minimum: 0, maximum: 23, description: 'Default 16, local0.' },
    appName: text('Default: the tag.'),
  },
  ['server'],
)

const pubsub = object(
  {
    component: text('Name of the pub/sub component.'),
    topic: text('${tag} and ${field.name} are filled in.'),
    raw: { type: 'boolean', description: 'The event as it is; default false, a CloudEvent whose data is the event.' },
  },
  ['component', 'topic'],
)

/** One of `outputs`. */
export function logOutputs(match: Schema): Schema {
  return object({
    name: text('For its place in the buffer, metrics and messages: keep it. Default: its kind, numbered.'),
    match,
    except: text('Tags that it is not for, in the form of match.'),
    stdout,
    file,
    http,
    elasticsearch,
    loki,
    otlp,
    forward,
    syslog,
    pubsub,
    drop: object({}),
    batch: object({
      maxEvents: { type: 'integer', minimum: 1, maximum: 100_000, description: 'About so many events at once. Default 1000.' },
      maxBytes: quantity('About so many bytes at once. Default 256Ki.'),
      flushInterval: duration('How long an event waits for others. Default 1s.'),
    }),
    retry: object({
      initial: duration('First wait after a failure. Default 500ms; doubled each time.'),
      max: duration('Longest wait. Default 30s.'),
      attempts: {
        type: 'integer',
        minimum: 1,
        maximum: 1_000_000,
        description: 'After so many the events go to the dead letters. Default: never give up.',
      },
    }),
  })
}
