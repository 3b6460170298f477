import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { bootstrap, call, cluster, startBackend, startProxy } from './harness.ts'

/** What the backend says it was asked. */
function asked(text: string): { name: string; method: string; url: string; headers: Record<string, string>; body: string } {
  return JSON.parse(text)
}

describe('routes of a proxy', () => {
  test('a route is chosen by path, headers and query, in the order they are written', async () => {
    await using a = await startBackend('a')
    await using b = await startBackend('b')
    await using proxy = await startProxy(
      bootstrap({
        routes: `
- match: { path: /exact }
  route: { cluster: b }
- match: { safe_regex: { regex: "/v[0-9]+/.*" } }
  route: { cluster: b }
- match: { path_separated_prefix: /apart }
  route: { cluster: b }
- match: { prefix: /headers, headers: [{ name: x-kind, string_match: { prefix: bet } }, { name: x-no, present_match: true, invert_match: true }] }
  route: { cluster: b }
- match: { prefix: /range, headers: [{ name: x-n, range_match: { start: 1, end: 10 } }] }
  route: { cluster: b }
- match: { prefix: /query, query_parameters: [{ name: to, string_match: { exact: b } }] }
  route: { cluster: b }
- match: { prefix: /FOLD, case_sensitive: false }
  route: { cluster: b }
- match: { prefix: "/", headers: [{ name: ":method", exact_match: DELETE }] }
  route: { cluster: b }
- match: { prefix: "/" }
  route: { cluster: a }`,
        clusters: cluster('a', [a.port]) + cluster('b', [b.port]),
      }),
    )
    const to = async (path: string, headers = {}, method = 'GET') => asked((await call(proxy.port, path, { method, headers })).text).name
    assert.equal(await to('/'), 'a')
    assert.equal(await to('/exact'), 'b')
    assert.equal(await to('/exact?q'), 'b')
    assert.equal(await to('/exact/'), 'a')
    assert.equal(await to('/v1/x'), 'b')
    assert.equal(await to('/vx/x'), 'a')
    assert.equal(await to('/apart'), 'b')
    assert.equal(await to('/apart/x'), 'b')
    assert.equal(await to('/apartment'), 'a')
    assert.equal(await to('/headers', { 'x-kind': 'beta' }), 'b')
    assert.equal(await to('/headers', { 'x-kind': 'beta', 'x-no': '1' }), 'a')
    assert.equal(await to('/range', { 'x-n': '9' }), 'b')
    assert.equal(await to('/range', { 'x-n': '10' }), 'a')
    assert.equal(await to('/query?x&to=b'), 'b')
    assert.equal(await to('/query?to=bb'), 'a')
    assert.equal(await to('/fold'), 'b')
    assert.equal(await to('/', {}, 'DELETE'), 'b')
  })

  test('virtual hosts are chosen by the most particular domain', async () => {
    const host = (name: string, domain: string) =>
      `{ name: ${name}, domains: ["${domain}"], routes: [{ match: { prefix: / }, direct_response: { status: 200, body: { inline_string: ${name} } } }] }`
    const text = bootstrap({
      routes: '- match: { prefix: / }\n  direct_response: { status: 200, body: { inline_string: any } }',
      clusters: '- { name: unused }',
    })
    await using proxy = await startProxy(
      text.replace(
        '- name: all',
        `- ${host('exact', 'a.example')}\n                    - ${host('suffix', '*.example')}\n                    - ${host('longer', '*.b.example')}\n                    - ${host('prefix', 'www.*')}\n                    - name: all`,
      ),
    )
    const to = async (name: string) => (await call(proxy.port, '/', { headers: { host: name } })).text
    assert.deepEqual(await Promise.all(['a.example', 'A.EXAMPLE', 'c.example', 'c.b.example', 'www.org', 'other'].map(to)), [
      'exact',
      'exact',
      'suffix',
      'longer',
      'prefix',
      'any',
    ])
  })

  test('paths, hosts and headers are rewritten', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        routes: `
- match: { prefix: /old/ }
  route: { cluster: a, prefix_rewrite: /new/, host_rewrite_literal: inner.example }
  request_headers_to_add:
    - { header: { key: x-added, value: "%REQ(x-from)%-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" } }
    - { header: { key: x-mine, value: proxy }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
    - { header: { key: x-absent, value: proxy }, append_action: ADD_IF_ABSENT }
  request_headers_to_remove: [x-gone]
  response_headers_to_add: [{ header: { key: x-status, value: "%RESPONSE_CODE%" } }]
  response_headers_to_remove: [x-backend]
- match: { safe_regex: { regex: "/user/\\\\d+/.*" } }
  route: { cluster: a, regex_rewrite: { pattern: { regex: "^/user/(\\\\d+)/(.*)$" }, substitution: "/\\\\2/of/\\\\1" } }`,
        clusters: cluster('a', [a.port]),
      }),
    )
    const reply = await call(proxy.port, '/old/x?q=1', {
      headers: { 'x-from': 'me', 'x-mine': 'client', 'x-absent': 'client', 'x-gone': '1' },
    })
    const { url, headers } = asked(reply.text)
    assert.equal(url, '/new/x?q=1')
    assert.equal(headers.host, 'inner.example')
    assert.equal(headers['x-added'], 'me-127.0.0.1')
    assert.equal(headers['x-mine'], 'proxy')
    assert.equal(headers['x-absent'], 'client')
    assert.equal(headers['x-gone'], undefined)
    assert.equal(headers['x-envoy-original-path'], '/old/x?q=1')
    assert.equal(reply.headers['x-status'], '200')
    assert.equal(reply.headers['x-backend'], undefined)
    assert.equal(asked((await call(proxy.port, '/user/7/cart?q')).text).url, '/cart/of/7?q')
  })

  test('redirects and answers of its own', async () => {
    await using proxy = await startProxy(
      bootstrap({
        routes: `
- match: { prefix: /secure }
  redirect: { https_redirect: true }
- match: { path: /moved }
  redirect: { path_redirect: /here, host_redirect: other.example, response_code: FOUND }
- match: { prefix: /strip }
  redirect: { prefix_rewrite: /to, strip_query: true, response_code: PERMANENT_REDIRECT }
- match: { prefix: /teapot }
  direct_response: { status: 418, body: { inline_string: short } }`,
        clusters: '- { name: unused }',
      }),
    )
    const location = async (path: string) => {
      const { status, headers } = await call(proxy.port, path, { headers: { host: 'a.example' } })
      return [status, headers.location]
    }
    assert.deepEqual(await location('/secure?x'), [301, 'https://a.example/secure?x'])
    assert.deepEqual(await location('/moved?x'), [302, 'http://other.example/here?x'])
    assert.deepEqual(await location('/strip/y?x'), [308, 'http://a.example/to/y'])
    const reply = await call(proxy.port, '/teapot')
    assert.deepEqual([reply.status, reply.text], [418, 'short'])
    assert.equal((await call(proxy.port, '/nothing')).status, 404)
  })

  test('weights share requests out, and copies go to a mirror', async () => {
    await using a = await startBackend('a')
    await using b = await startBackend('b')
    const mirrored = Promise.withResolvers<[string, string]>()
    await using m = await startBackend('m', (request, response) => {
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => {
        mirrored.resolve([request.headers.host ?? '', body])
        response.end()
      })
    })
    await using proxy = await startProxy(
      bootstrap({
        routes: `
- match: { prefix: /copied }
  route: { cluster: a, request_mirror_policies: [{ cluster: m }] }
- match: { prefix: / }
  route: { weighted_clusters: { clusters: [{ name: a, weight: 1 }, { name: b, weight: 3 }] } }`,
        clusters: cluster('a', [a.port]) + cluster('b', [b.port]) + cluster('m', [m.port]),
      }),
    )
    for (let i = 0; i < 200; i++) await call(proxy.port, '/')
    assert.ok(a.hits > 20 && a.hits < 90, String(a.hits))
    assert.equal(a.hits + b.hits, 200)
    await call(proxy.port, '/copied', { method: 'POST', body: 'twice', headers: { host: 'a.example' } })
    assert.deepEqual(await mirrored.promise, ['a.example-shadow', 'twice'])
  })

  test('cors answers questions before and marks replies after', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        filters: '- name: envoy.cors\n',
        routes: `
- match: { prefix: / }
  route: { cluster: a }
  typed_per_filter_config:
    envoy.filters.http.cors:
      "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
      allow_origin_string_match: [{ suffix: .example }]
      allow_methods: GET, PUT
      allow_headers: x-a
      max_age: "60"
      expose_headers: x-b`,
        clusters: cluster('a', [a.port]),
      }),
    )
    const before = await call(proxy.port, '/', {
      method: 'OPTIONS',
      headers: { origin: 'https://a.example', 'access-control-request-method': 'PUT' },
    })
    assert.equal(before.status, 200)
    assert.equal(before.headers['access-control-allow-origin'], 'https://a.example')
    assert.equal(before.headers['access-control-allow-methods'], 'GET, PUT')
    assert.equal(before.headers['access-control-max-age'], '60')
    assert.equal(a.hits, 0)
    const after = await call(proxy.port, '/', { headers: { origin: 'https://a.example' } })
    assert.equal(after.headers['access-control-expose-headers'], 'x-b')
    const other = await call(proxy.port, '/', { headers: { origin: 'https://a.org' } })
    assert.equal(other.headers['access-control-allow-origin'], undefined)
  })

  test('rbac lets in whom its rules name', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        filters: `
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:
        readers:
          permissions: [{ and_rules: { rules: [{ header: { name: ":method", string_match: { exact: GET } } }, { not_rule: { url_path: { path: { prefix: /admin } } } }] } }]
          principals: [{ direct_remote_ip: { address_prefix: 127.0.0.0, prefix_len: 8 } }]`,
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port]),
      }),
    )
    assert.equal((await call(proxy.port, '/x')).status, 200)
    assert.equal((await call(proxy.port, '/admin')).status, 403)
    const denied = await call(proxy.port, '/x', { method: 'POST' })
    assert.deepEqual([denied.status, denied.text], [403, 'RBAC: access denied'])
  })

  test('a local rate limit answers 429 with its headers', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        filters: `
- name: envoy.filters.http.local_ratelimit
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
    stat_prefix: limit
    token_bucket: { max_tokens: 2, tokens_per_fill: 2, fill_interval: 60s }
    filter_enabled: { default_value: { numerator: 100 } }
    filter_enforced: { default_value: { numerator: 100 } }
    response_headers_to_add: [{ header: { key: x-limited, value: "yes" } }]`,
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port]),
      }),
    )
    const replies = [await call(proxy.port, '/'), await call(proxy.port, '/'), await call(proxy.port, '/')]
    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200, 429],
    )
    assert.equal(replies[2]?.headers['x-limited'], 'yes')
  })

  test('faults abort and delay', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        filters: `
- name: envoy.fault
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    abort: { http_status: 418, percentage: { numerator: 100 } }
    delay: { fixed_delay: 0.05s, percentage: { numerator: 100 } }
    headers: [{ name: x-fault, present_match: true }]`,
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port]),
      }),
    )
    assert.equal((await call(proxy.port, '/')).status, 200)
    const before = performance.now()
    assert.equal((await call(proxy.port, '/', { headers: { 'x-fault': '1' } })).status, 418)
    assert.ok(performance.now() - before >= 49)
    assert.equal(a.hits, 1)
  })

  test('a buffered request is whole when it is sent on, and one that is too large is refused', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        filters:
          '- name: envoy.buffer\n  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 100 }\n',
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port]),
      }),
    )
    const whole = await call(proxy.port, '/', { method: 'POST', body: 'x'.repeat(50), headers: { 'transfer-encoding': 'chunked' } })
    assert.equal(asked(whole.text).headers['content-length'], '50')
    assert.equal(
      (await call(proxy.port, '/', { method: 'POST', body: 'x'.repeat(101), headers: { 'transfer-encoding': 'chunked' } })).status,
      413,
    )
    assert.equal(a.hits, 1)
  })

  test('the client is told of by x-forwarded-for and x-forwarded-proto as far as it is trusted', async () => {
    await using a = await startBackend('a')
    const routes = '- match: { prefix: / }\n  route: { cluster: a }'
    await using edge = await startProxy(bootstrap({ manager: 'use_remote_address: true', routes, clusters: cluster('a', [a.port]) }))
    const { headers } = asked(
      (await call(edge.port, '/', { headers: { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https' } })).text,
    )
    assert.equal(headers['x-forwarded-for'], '1.2.3.4,127.0.0.1')
    assert.equal(headers['x-forwarded-proto'], 'http')
    assert.match(headers['x-request-id'] ?? '', /^[0-9a-f-]{36}$/)
    await using inner = await startProxy(bootstrap({ routes, clusters: cluster('a', [a.port]) }))
    const within = asked(
      (await call(inner.port, '/', { headers: { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https', 'x-request-id': 'mine' } }))
        .text,
    )
    assert.deepEqual(
      [within.headers['x-forwarded-for'], within.headers['x-forwarded-proto'], within.headers['x-request-id']],
      ['1.2.3.4', 'https', 'mine'],
    )
  })

  test('paths are made plain before routes see them', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        manager: 'normalize_path: true\nmerge_slashes: true',
        routes: '- match: { prefix: /admin }\n  direct_response: { status: 403 }\n- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port]),
      }),
    )
    for (const path of ['/x/../admin', '/./admin', '//admin', '/x/%2e%2e/admin', '/\\admin']) {
      const socket = connect(proxy.port, '127.0.0.1')
      socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
      const [first] = await once(socket, 'data')
      assert.match(String(first), /^HTTP\/1\.1 403/, path)
      socket.destroy()
    }
    assert.equal((await call(proxy.port, '/a/./b?x=/../')).status, 200)
    assert.equal((await call(proxy.port, '/../../x')).status, 400)
  })

  test('an access log has what its format names, as text and as JSON', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-'))
    const file = join(folder, 'access.log')
    await using a = await startBackend('a')
    {
      await using proxy = await startProxy(
        bootstrap({
          manager: `
access_log:
  - name: envoy.access_loggers.file
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: ${file}
      log_format: { text_format_source: { inline_string: "%REQ(:METHOD)% %REQ(X-NO?:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %UPSTREAM_CLUSTER% %REQ(user-agent):3%\\n" } }
  - name: envoy.file_access_log
    filter: { status_code_filter: { comparison: { op: GE, value: { default_value: 400, runtime_key: x } } } }
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: ${file}
      log_format: { json_format: { code: "%RESPONSE_CODE%", why: "%RESPONSE_FLAGS%", upstream: "%UPSTREAM_HOST%" } }`,
          routes: '- match: { prefix: /a }\n  route: { cluster: a }',
          clusters: cluster('a', [a.port]),
        }),
      )
      await call(proxy.port, '/a?x', { method: 'POST', body: '12345', headers: { 'user-agent': 'curlish' } })
      await call(proxy.port, '/none')
    }
    assert.deepEqual(
      readFileSync(file, 'utf8').trim().split('\n').sort(),
      ['GET /none 404 NR 0 - -', 'POST /a?x 200 - 5 a cur', '{"code":404,"why":"NR","upstream":null}'].sort(),
    )
    rmSync(folder, { recursive: true })
  })
})
