// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLogger } from '../../../telemetry/log.ts'
import { scratch } from '../harness.ts'
import { type FromFluentd, readFluentd } from './read.ts'

const warnings: string[] = []
const log = createLogger({ level: 'warning', json: false, appId: 'logs-test', version: '', write: (line) => warnings.push(line) })
const read = (config: string, more: { lenient?: boolean; env?: NodeJS.ProcessEnv; folder?: string } = {}): Promise<FromFluentd> =>
  readFluentd({ config, lenient: more.lenient ?? false }, { folder: more.folder ?? '/', resource: 'p.yaml', env: more.env ?? {}, log })

test('what people have in front of Elasticsearch is understood', async () => {
  const { sources, filters, outputs, maxBytes } = await read(
    `
# comes with the image
<source>
  @type tail
  @id in_tail
  path /var/log/app/*.log, /var/log/web.log
  exclude_path ["/var/log/app/*.gz"]
  pos_file /var/log/app.pos   # kept on the node
  tag app.*
  read_from_head true
  <parse>
    @type json
    time_key ts
    time_format %Y-%m-%dT%H:%M:%S.%L%z
  </parse>
</source>
<filter app.**>
  @type record_transformer
  remove_keys password,$.user.mail
  <record>
    hostname "#{hostname}"
    env "#{ENV['STAGE'] || 'dev'}"
    service \${tag_parts[1]}
    who \${record["user"]["name"]}
  </record>
</filter>
<filter app.**>
  @type grep
  <exclude>
    key level
    pattern /^(debug|trace)$/i
  </exclude>
</filter>
<match app.**>
  @type elasticsearch
  host es.local
  port 9200
  logstash_format true
  logstash_prefix shop
  user elastic
  password "se#cret\\"x"
  include_tag_key true
  <buffer>
    @type file
    path /var/buffer
    flush_interval 5s
    chunk_limit_size 2m
    total_limit_size 512m
    retry_max_interval 30
    retry_forever true
    overflow_action block
  </buffer>
</match>
`,
    { env: { STAGE: 'prod' } },
  )
  const { hostname } = (filters[0]?.add?.fields ?? {}) as Record<string, string>
  assert.deepEqual(sources, [
    {
      name: 'in_tail',
      tag: 'app.*',
      tail: {
        paths: ['/var/log/app/*.log', '/var/log/web.log'],
        from: 'start',
        timeField: 'ts',
        timeFormat: '%Y-%m-%dT%H:%M:%S.%L%z',
        keepTime: false,
        format: 'json',
        exclude: ['/var/log/app/*.gz'],
        positions: '/var/log/app.pos',
      },
    },
  ])
  assert.deepEqual(filters, [
    { match: 'app.**', add: { fields: { hostname, env: 'prod', service: '${tag_parts[1]}', who: '${field.user.name}' } } },
    { match: 'app.**', remove: { fields: ['password', 'user.mail'] } },
    { match: 'app.**', grep: { exclude: [{ field: 'level', pattern: '(?i:^(debug|trace)$)' }] } },
  ])
  assert.deepEqual(outputs, [
    {
      match: 'app.**',
      elasticsearch: {
        urls: ['http://es.local:9200'],
        index: 'fluentd',
        logstashFormat: true,
        logstashPrefix: 'shop',
        tagField: 'tag',
        user: 'elastic',
        password: { value: 'se#cret"x' },
      },
      batch: { flushInterval: '5000ms', maxBytes: '2Mi' },
      retry: { max: '30000ms' },
    },
  ])
  assert.equal(maxBytes, '512Mi')
})

test('an event goes to the first match, and what comes behind it does not see it', async () => {
  const { filters, outputs } = await read(`
<match audit.**>
  @type copy
  <store>
    @type forward
    require_ack_response
    <server>
      host spare
      standby
    </server>
    <server>
      host 10.0.0.1
      port 24225
    </server>
    <security>
      self_hostname me
      shared_key k
    </security>
  </store>
  <store>
    @type file
    path /tmp/audit
    <format>
      @type json
    </format>
  </store>
</match>
<filter **>
  @type parser
  key_name log
  reserve_data true
  <parse>
    @type regexp
    expression /^(?<a>\\h+) (?<n>\\d+)\\z/
    types n:integer
  </parse>
</filter>
<match **>
  @type stdout
</match>`)
  assert.deepEqual(outputs, [
    { match: 'audit.**', forward: { servers: ['10.0.0.1:24225', 'spare:24224'], ack: true, hostname: 'me', sharedKey: { value: 'k' } } },
    { match: 'audit.**', file: { path: '/tmp/audit.%Y%m%d.log', format: 'record' } },
    { match: '**', except: 'audit.**', stdout: { format: 'fluentd' } },
  ])
  assert.deepEqual(filters, [
    {
      match: '**',
      except: 'audit.**',
      parse: {
        field: 'log',
        timeField: 'time',
        keepTime: false,
        types: { n: 'integer' },
        format: 'regex',
        pattern: '^(?<a>[0-9a-fA-F]+) (?<n>\\d+)$',
        keep: true,
        keepField: true,
        onError: 'deadLetter',
      },
    },
  ])
})

test('what is not acted on is an error with file and line, all of them at once', async () => {
  const bad = `<source>
  @type tail
  path /x
  tag t
  limit_recently_modified 1d
  <parse>
    @type avro
  </parse>
</source>
<source>
  @type kafka
</source>
<match **>
  @type elasticsearch
  id_key uid
  <secondary>
    @type file
  </secondary>
</match>
<label @X>
</label>
stray 1
`
  await assert.rejects(read(bad), ({ message }: Error) => {
    for (const [line, what] of [
      [7, /the format avro is not known here/],
      [11, /a source of type kafka is not known/],
      [15, /id_key of <match> is not acted on/],
      [16, /<secondary> in <match> is not acted on/],
      [20, /<label> is not acted on/],
      [22, /stray/],
    ] as const)
      assert.match(message, new RegExp(`^p\\.yaml \\(spec\\.fluentd\\.config\\):${line}: .*${what.source}`, 'm'))
    return true
  })
  warnings.length = 0
  const { outputs } = await read(bad, { lenient: true })
  assert.equal(outputs.length, 1)
  assert.equal(warnings.length, 6)
})

test('mistakes are told by file and line', async () => {
  for (const [config, expected] of [
    ['<source>\n@type tail\n', /:1: <source> has no <\/source>/],
    ['<match a>\n</source>\n', /:2: <\/source> ends no <source>; <match> is open/],
    ['<match **>\n  @type stdout\n  x "abc\n</match>\n', /:3: a text in quotes has no end/],
    ['<source>\n  @type http\n  port "#{1 + 1}"\n</source>', /:3: #\{1 \+ 1\} is Ruby/],
    ['<source>\n @type http\n port many\n</source>', /:3: port is a number, not many/],
    [
      '<filter **>\n @type grep\n <regexp>\n key a\n pattern /(/\n </regexp>\n</filter>',
      /:5: this regular expression of Ruby's is none here/,
    ],
    [
      '<filter **>\n @type record_transformer\n <record>\n a ${record["x"].upcase}\n </record>\n</filter>',
      /:4: \$\{record\["x"\]\.upcase\} is Ruby/,
    ],
  ] as const)
    await assert.rejects(read(config), expected)
})

test('files are included, with the places of their own lines', async (t) => {
  const folder = scratch(t)
  mkdirSync(join(folder, 'conf.d'))
  writeFileSync(join(folder, 'conf.d', 'a.conf'), '<source>\n  @type forward\n  bind 0.0.0.0\n</source>\n')
  writeFileSync(join(folder, 'conf.d', 'b.conf'), '<match **>\n  @type stdout\n  wrong 1\n</match>\n')
  await assert.rejects(read('@include conf.d/*.conf', { folder }), /b\.conf:3: wrong/)
  writeFileSync(join(folder, 'conf.d', 'b.conf'), '<match **>\n  @type null\n</match>\n')
  assert.deepEqual(await read('@include conf.d/*.conf', { folder }), {
    sources: [{ forward: { host: '0.0.0.0', port: 24_224 } }],
    filters: [],
    outputs: [{ match: '**', drop: {} }],
  })
})
