// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.

import { duration, object, text } from './agent-schema.ts'
import type { Schema } from './json-schema.ts'
import { logOutputs } from './log-outputs-schema.ts'
import { described, list, quantity, regex, secretText, texts } from './log-schema-words.ts'

const MATCH = text('Tags that it is for: `*` is one part between dots, `**` any number of them, {a,b} one of several. Default `**`.')

/** How text becomes fields; of a tail and of the filter `parse`. */
const format = {
  format: {
    type: 'string',
    enum: ['text', 'json', 'logfmt', 'ltsv', 'regex', 'cri', 'docker', 'syslog'],
    description:
      'How a line becomes fields. text: the line is the field `message`. cri, docker: what container runtimes write, cut lines joined. Default text.',
  } satisfies Schema,
  pattern: regex('For format regex: named groups become fields.'),
  types: described('Fields of the result that are no text.', {
    type: 'object',
    additionalProperties: { type: 'string', enum: ['string', 'integer', 'float', 'bool', 'array'] },
  }),
  timeField: text('Field that holds the time of the event. Default: `time` of cri, docker and syslog, else the time of reading.'),
  timeFormat: text('As strptime has it (%Y-%m-%dT%H:%M:%S.%L%z), or iso8601, unixtime, float. Default: iso8601 or seconds since 1970.'),
  keepTime: { type: 'boolean', description: 'Whether timeField stays in the event. Default true.' } satisfies Schema,
}

const tail = object(
  {
    paths: described('Files to follow; `*`, `?`, `[…]`, `{a,b}` and `**` are understood.', list(text('A file or a pattern.'), 1)),
    exclude: texts('Files that are not followed, as patterns.'),
    ...format,
    from: {
      type: 'string',
      enum: ['start', 'end'],
      description: 'Where a file begins that is there at the first start. Default start. Later files are always read from their start.',
    },
    key: text('Field that holds the line for format text. Default message.'),
    pathKey: text('Field that the path of the file is put in. Default: none.'),
    multiline: described(
      'Lines that make one event.',
      object({
        start: regex('A line that begins an event.'),
        continue: regex('A line that goes on with the event before it.'),
        timeout: duration('How long an event waits for its next line. Default 1s.'),
        maxLines: {
          type: 'integer',
          minimum: 2,
          maximum: 100_000,
          description: 'Lines of one event; default 1000. The next one begins a new event.',
        },
      }),
    ),
    maxLine: quantity('Bytes of one line, default 256Ki. A longer one is cut into several events, each marked `partial: true`.'),
    poll: duration('How often files are looked at when nothing comes. Default 250ms.'),
    rotateWait: duration('How long a file that was rotated away is read further. Default 5s.'),
    maxFiles: {
      type: 'integer',
      minimum: 1,
      maximum: 10_000,
      description: 'Files open at a time; default 256. More wait, and that is logged.',
    },
    positions: text("A position file of Fluentd's, read once: files without a position of ours go on there."),
  },
  ['paths'],
)

const http = object({
  path: text("Route on the agents' port, `<path>` and `<path>/:tag`. Default /log. With port: prefix of the tag, default /."),
  port: {
    type: 'integer',
    minimum: 0,
    maximum: 65_535,
    description: "A port of its own in place of the agents' port; 0: any that is free.",
  },
  host: text('Address of that port. Default 127.0.0.1.'),
  maxBody: quantity('Bytes of one request. Default 4Mi.'),
})

const forward = object({
  port: {
    type: 'integer',
    minimum: 0,
    maximum: 65_535,
    description: "Port of Fluentd's forward protocol, TCP, and UDP for heartbeats. Default 24224.",
  },
  host: text('Default 127.0.0.1.'),
  sharedKey: secretText('Asked of clients in the handshake. Default: none is asked for.'),
  users: described(
    'User names and passwords that clients show besides the key.',
    list(object({ name: text('User name.'), password: secretText('Its password.') }, ['name', 'password'])),
  ),
  hostname: text('What this end calls itself in the handshake. Default: the name of the machine.'),
  maxMessage: quantity('Bytes of one message, unpacked. Default 16Mi.'),
})

const syslog = object({
  port: { type: 'integer', minimum: 0, maximum: 65_535, description: 'Default 5140.' },
  host: text('Default 127.0.0.1.'),
  protocol: {
    type: 'string',
    enum: ['udp', 'tcp', 'both'],
    description: 'Default udp. Over TCP both octet counting and lines are understood.',
  },
})

const source = object({
  name: text('For positions, metrics and messages. Default: its kind, numbered.'),
  tag: text(
    'Tag of its events; `*` in it becomes the path of the file with dots. Default: the name. What the sender says (forward, http) goes before.',
  ),
  tail,
  http,
  forward,
  syslog,
})

const patterns = described(
  'Fields and what they must match.',
  list(object({ field: text('Name, or path with dots: kubernetes.pod.'), pattern: regex('Regular expression.') }, ['field', 'pattern']), 1),
)

const filter = object({
  match: MATCH,
  parse: object({
    field: text('Field that is read. Default message.'),
    ...format,
    keep: { type: 'boolean', description: 'Whether the other fields stay. Default true.' },
    keepField: { type: 'boolean', description: 'Whether the field that was read stays. Default false.' },
    onError: {
      type: 'string',
      enum: ['keep', 'deadLetter'],
      description: 'An event that cannot be read: keep it as it is (default), or put it in the dead letters.',
    },
  }),
  grep: object({
    include: described('All must match, or the event is left out (and counted).', patterns),
    exclude: described('One that matches leaves the event out (and counts it).', patterns),
  }),
  add: object(
    {
      fields: described(
        'Text with ${tag}, ${hostname}, ${env.NAME}, ${time}, ${field.name}, ${tag_parts[0]}; a lone ${field.name} keeps its type.',
        {
          type: 'object',
          additionalProperties: { 'x-text': true },
        },
      ),
    },
    ['fields'],
  ),
  remove: object({
    fields: texts('Fields that go.'),
    keep: texts('Fields that stay; all others go.'),
  }),
  redact: object({
    fields: texts('Fields whose text is looked at. Default: all.'),
    patterns: list(regex('What is replaced.')),
    kinds: described('Built in patterns.', list({ type: 'string', enum: ['email', 'card', 'ipv4', 'bearer', 'password'] })),
    with: text('What stands there instead. Default [redacted].'),
  }),
  sample: object(
    {
      percent: { type: 'number', minimum: 0, maximum: 100, description: 'Share of the events that stay; the others are counted.' },
      by: text('Field whose value decides, so that equal ones stay or go together. Default: chance.'),
    },
    ['percent'],
  ),
})

/** spec of a LogPipeline. */
export const logPipelineSpec: Schema = object({
  sources: described('Where events come from.', list(source)),
  filters: described('What happens to them, in order, before they are kept.', list(filter)),
  buffer: described(
    'Events between sources and outputs, on disk.',
    object({
      maxBytes: quantity(
        'Most bytes that wait. At the bound tails stop reading, forward and TCP connections are not read, HTTP answers 503; UDP is counted. Default 256Mi.',
      ),
      segmentBytes: quantity('Bytes of one file; default an eighth of maxBytes, at most 16Mi.'),
      synchronous: {
        type: 'string',
        enum: ['normal', 'full'],
        description:
          'normal survives the end of any process; full also survives a power cut, at the price of a disk flush per write. Default normal.',
      },
    }),
  ),
  outputs: described('Where every event goes whose tag matches.', list(logOutputs(MATCH))),
  deadLetter: described(
    'Events that an output refuses for good, as files of JSON lines.',
    object({
      folder: text("Default: dead-letters in the role's data folder."),
      maxBytes: quantity('Most bytes of all of them; at the bound the output waits instead. Default 256Mi.'),
    }),
  ),
  fluentd: described(
    "Sources, filters and outputs from Fluentd's configuration, before those above.",
    object({
      file: text('Path of the file.'),
      config: text('The configuration itself.'),
      lenient: { type: 'boolean', description: 'Warn of what is not acted on in place of refusing it. Default false.' },
    }),
  ),
})
