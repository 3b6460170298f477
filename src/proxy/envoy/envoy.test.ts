import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { bootstrap, cluster } from '../harness.ts'
import { readClientHello } from '../net/client-hello.ts'
import { readBootstrap } from './bootstrap.ts'
import { readEndpoints } from './clusters.ts'
import { ConfigError } from './reader.ts'

const ROUTE = '- match: { prefix: / }\n  route: { cluster: a }'
const PLAIN = bootstrap({ routes: ROUTE, clusters: cluster('a', [1]) })

function problems(text: string): string[] {
  try {
    readBootstrap(text, 'f.yaml')
    return []
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error.message.split('\n')
  }
}

/** Configurations as they stood in 2019: short names, `config`, v2 types, `hosts`. */
const OLD = `
static_resources:
  listeners:
  - address: { socket_address: { address: 0.0.0.0, port_value: 10000 } }
    filter_chains:
    - filters:
      - name: envoy.http_connection_manager
        config:
          codec_type: auto
          stat_prefix: ingress_http
          route_config:
            name: local_route
            virtual_hosts:
            - name: service
              domains: ["*"]
              routes:
              - match: { prefix: "/service/1" }
                route: { cluster: service1, host_rewrite: one.example, retry_policy: { retry_on: connect-failure, num_retries: 3 } }
          http_filters:
          - name: envoy.router
            config: {}
  clusters:
  - name: service1
    connect_timeout: 0.25s
    type: strict_dns
    lb_policy: round_robin
    http2_protocol_options: {}
    tls_context: { sni: one.example }
    hosts: [{ socket_address: { address: service1, port_value: 80 } }]
admin:
  access_log_path: /dev/null
  address: { socket_address: { address: 0.0.0.0, port_value: 8001 } }
`

describe("Envoy's static configuration", () => {
  test('one as they were written in 2019 means the same', () => {
    const { model } = readBootstrap(OLD, 'old.yaml')
    const [listener] = model.listeners
    const handling = listener?.chains[0]?.handling
    assert.ok(handling?.kind === 'http')
    assert.equal(listener?.port, 10_000)
    const action = handling.routes.hosts[0]?.routes[0]?.action
    assert.ok(action?.kind === 'forward')
    assert.deepEqual(action.host, { host: 'one.example' })
    assert.deepEqual(action.retry?.on, ['connect-failure'])
    const [service] = model.clusters
    assert.deepEqual(
      [service?.discovery, service?.protocol, service?.connectTimeout, service?.tls?.sni],
      ['strict-dns', 'http2', 250, 'one.example'],
    )
    assert.deepEqual(service?.endpoints[0], { host: 'service1', port: 80, weight: 1, priority: 0 })
    assert.deepEqual(model.admin, { host: '0.0.0.0', port: 8001 })
  })

  test('JSON with names in camelCase means the same', () => {
    const camel = (value: unknown): unknown =>
      Array.isArray(value)
        ? value.map(camel)
        : value !== null && typeof value === 'object'
          ? Object.fromEntries(
              Object.entries(value).map(([name, inner]) => [
                name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase()),
                camel(inner),
              ]),
            )
          : value
    const value = {
      static_resources: {
        clusters: [{ name: 'a', connect_timeout: '1s', lb_policy: 'RANDOM', circuit_breakers: { thresholds: [{ max_requests: 7 }] } }],
      },
    }
    const { model } = readBootstrap(JSON.stringify(camel(value)), 'f.json')
    assert.deepEqual(model, readBootstrap(JSON.stringify(value), 'f.json').model)
    assert.equal(model.clusters[0]?.limits.requests, 7)
  })

  for (const [what, text, wanted] of [
    [
      'a field of a route',
      PLAIN.replace('{ cluster: a }', '{ cluster: a, max_stream_duration: {} }'),
      /route\.max_stream_duration is not supported/,
    ],
    ['a part of the whole', `${PLAIN}layered_runtime: { layers: [] }\n`, /:\d+: layered_runtime is not supported/],
    [
      'a field within a field',
      PLAIN.replace('connect_timeout: 1s', 'circuit_breakers: { thresholds: [{ retry_budget: {} }] }'),
      /clusters\[0\]\.circuit_breakers\.thresholds\[0\]\.retry_budget/,
    ],
    [
      'an unknown HTTP filter',
      PLAIN.replace('envoy.filters.http.router\n', 'envoy.filters.http.lua\n').replace('router.v3.Router', 'lua.v3.Lua'),
      /http_filters\[0\] is envoy\.filters\.http\.lua; known here/,
    ],
    ['a kind of balancing', PLAIN.replace('connect_timeout: 1s', 'lb_policy: MAGLEV'), /lb_policy must be one of ROUND_ROBIN.*"MAGLEV"/],
    [
      'an operator of a format',
      PLAIN.replace(
        '{ cluster: a }',
        '{ cluster: a }\n                          response_headers_to_add: [{ header: { key: x, value: "%TRACE_ID%" } }]',
      ),
      /the operator %TRACE_ID% is not known/,
    ],
    [
      'a word of retry_on',
      PLAIN.replace('{ cluster: a }', '{ cluster: a, retry_policy: { retry_on: "5xx,http3-post-connect-failure" } }'),
      /http3-post-connect-failure/,
    ],
    [
      'a regular expression that is none',
      PLAIN.replace('{ prefix: / }', '{ safe_regex: { regex: "(" } }'),
      /safe_regex\.regex is no regular expression/,
    ],
    ['a cluster that is not there', PLAIN.replace('{ cluster: a }', '{ cluster: b }'), /names the cluster "b", which is not there/],
    ['a duration without its unit', PLAIN.replace('connect_timeout: 1s', 'connect_timeout: 1'), /connect_timeout must be a duration/],
    [
      'a name where an address is wanted',
      PLAIN.replace('address: 127.0.0.1, port_value: 1 ', 'address: service, port_value: 1 '),
      /is STATIC but has the name "service"/,
    ],
    ['a list that is none', 'static_resources: { clusters: 1 }', /clusters must be a list/],
    ['two of what excludes itself', PLAIN.replace('{ cluster: a }', '{ cluster: a, cluster_header: x }'), /has cluster and cluster_header/],
    ['no router', PLAIN.replace(/ {18}- name: envoy\.filters\.http\.router\n.*\n.*\n/, ''), /has no router/],
    ['YAML that is none', 'static_resources: {', /f\.yaml:1: /],
  ] as const)
    test(`${what} is refused by path and line`, () => {
      const found = problems(text)
      assert.ok(
        found.some((line) => wanted.test(line)),
        `${found.join('\n')}`,
      )
      for (const line of found) assert.match(line, /^f\.yaml:\d+: /)
    })

  test('the line is that of the field', () => {
    const text = PLAIN.replace('{ cluster: a }', '\n                            cluster: a\n                            hedge_policy: {}')
    const line = text.split('\n').findIndex((one) => one.includes('hedge_policy')) + 1
    assert.match(problems(text)[0] as string, new RegExp(`^f\\.yaml:${line}: `))
  })

  test('with lenient, what is not supported is said and passed over; what is wrong is not', () => {
    const text = PLAIN.replace('{ cluster: a }', '{ cluster: a, hedge_policy: {} }')
    const { remarks } = readBootstrap(text, 'f.yaml', true)
    assert.deepEqual(
      remarks.map(({ path }) => path.split('.').at(-1)),
      ['hedge_policy'],
    )
    assert.throws(
      () => readBootstrap(text.replace('{ prefix: / }', '{ safe_regex: { regex: "(" } }'), 'f.yaml', true),
      /no regular expression/,
    )
  })

  test('any bytes are read or refused, with nothing thrown but that', () => {
    const random = new Random(88)
    const seeds = [PLAIN, OLD].map((text) => Buffer.from(text))
    const end = performance.now() + 1200
    let rounds = 0
    for (; performance.now() < end; rounds++) {
      const text = random.mutate(seeds[random.int(seeds.length)] as Buffer).toString('utf8')
      for (const read of [() => readBootstrap(text, 'f'), () => readEndpoints(text, 'f', 'a')]) {
        try {
          read()
        } catch (error) {
          assert.ok(error instanceof ConfigError, `${(error as Error).stack}\n${text}`)
        }
      }
    }
    assert.ok(rounds > 3)
  })
})

test('the first message of TLS is read or refused, whatever it is', () => {
  const name = Buffer.from('a.example')
  const extension = (type: number, body: Buffer) => Buffer.concat([Buffer.of(0, type, body.length >> 8, body.length & 255), body])
  const sni = extension(0, Buffer.concat([Buffer.of(0, name.length + 3, 0, 0, name.length), name]))
  const alpn = extension(16, Buffer.concat([Buffer.of(0, 3, 2), Buffer.from('h2')]))
  const extensions = Buffer.concat([sni, alpn])
  const body = Buffer.concat([
    Buffer.of(3, 3),
    Buffer.alloc(32),
    Buffer.of(0),
    Buffer.of(0, 2, 0x13, 1),
    Buffer.of(1, 0),
    Buffer.of(0, extensions.length),
    extensions,
  ])
  const message = Buffer.concat([Buffer.of(1, 0, 0, body.length), body])
  const record = (part: Buffer) => Buffer.concat([Buffer.of(0x16, 3, 1, 0, part.length), part])
  const whole = record(message)
  assert.deepEqual(readClientHello(whole), { serverName: 'a.example', alpn: ['h2'] })
  assert.deepEqual(readClientHello(Buffer.concat([record(message.subarray(0, 10)), record(message.subarray(10))])), {
    serverName: 'a.example',
    alpn: ['h2'],
  })
  for (let length = 0; length < whole.length; length++) assert.equal(readClientHello(whole.subarray(0, length)), 'more')
  assert.equal(readClientHello(Buffer.from('GET / HTTP/1.1\r\n')), 'none')
  const random = new Random(443)
  const end = performance.now() + 300
  while (performance.now() < end) {
    const found = readClientHello(random.mutate(whole))
    assert.ok(found === 'more' || found === 'none' || typeof found.alpn === 'object')
  }
})
