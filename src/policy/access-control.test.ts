import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccessControlSpec } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { parseSpiffeId } from '../transport/identity/spiffe.ts'
import { createAccessControl } from './access-control.ts'
import { OperationRules } from './access-control-rules.ts'

const warnings: string[] = []
const log: Logger = {
  debug: () => {},
  info: () => {},
  warn: (line) => void warnings.push(line),
  error: () => {},
  fatal: () => {},
  scope: () => log,
  enabled: () => true,
}

const CALLER = 'spiffe://public/ns/default/caller'

function decide(spec: AccessControlSpec, http = true) {
  const authorize = createAccessControl(spec, http, log)
  return (method: string, verb = 'GET', peer: string | undefined = CALLER, asHttp = http): boolean => {
    try {
      authorize?.({ method, verb, http: asHttp, peer: peer === '' ? undefined : parseSpiffeId(peer) })
      return true
    } catch (error) {
      assert.ok(error instanceof GrpcStatus)
      return false
    }
  }
}

/** The number of the rule that each path meets. */
function meets(rules: string[], paths: Record<string, string | undefined>) {
  const trie = new OperationRules()
  for (const rule of rules) trie.add(rule, { action: rule, verbs: new Map() })
  for (const [path, rule] of Object.entries(paths)) assert.equal(trie.find(path)?.action, rule, path)
}

test('operations: exact names, one segment, the rest, globs, and in what order', () => {
  meets(['/a', '/b/c'], { '/a': '/a', '/a/x/y': '/a', '/ab': undefined, '/b': undefined, '/b/c': '/b/c', '/': undefined })
  meets(['/a/*'], { '/a': '/a/*', '/a/x': '/a/*', '/a/x/y': undefined, '/b': undefined })
  meets(['/a/**'], { '/a': '/a/**', '/a/x': '/a/**', '/a/x/y': '/a/**' })
  meets(['/a/b*d/e'], { '/a/bd/e': '/a/b*d/e', '/a/bxxd/e': '/a/b*d/e', '/a/bx/e': undefined, '/a/bxd': undefined })
  meets(['/x*y*z'], { '/xyz': '/x*y*z', '/xAyBz': '/x*y*z', '/xz': undefined, '/xyyz': '/x*y*z', '/xzy': undefined })
  meets(['/a*a'], { '/a': undefined, '/aa': '/a*a' })
  meets(['/a/*', '/a/b'], { '/a/b': '/a/*', '/a/b/c': '/a/b' })
  meets(['/a/b', '/a/*'], { '/a/b': '/a/b', '/a/c': '/a/*' })
  meets(['/a*/x', '/ab/y'], { '/ab/x': '/a*/x', '/ab/y': undefined })
  meets(['/**'], { '/': '/**', '/a/b': '/**' })
  meets(['/*'], { '/a': '/*', '/a/b': undefined, '/*/b': undefined })
})

test('of two operations of one name the first counts', () => {
  const may = decide({
    defaultAction: 'deny',
    policies: [
      {
        appId: 'caller',
        namespace: 'default',
        trustDomain: 'public',
        operations: [
          { name: 'x', httpVerb: ['*'], action: 'allow' },
          { name: '/x', httpVerb: ['*'], action: 'deny' },
        ],
      },
    ],
  })
  assert.equal(may('x'), true)
})

test('who is judged by which action: list, policy, operation, verb', () => {
  const policy = { appId: 'caller', namespace: 'default', trustDomain: 'public', defaultAction: 'deny' }
  const may = decide({
    defaultAction: 'allow',
    policies: [
      {
        ...policy,
        operations: [
          { name: 'orders/*', httpVerb: ['GET', 'PUT'], action: 'Allow' },
          { name: 'any', httpVerb: ['*'], action: 'allow' },
          { name: '/slash/', httpVerb: ['*'], action: 'allow' },
        ],
      },
    ],
  })
  assert.equal(may('orders/1'), true)
  assert.equal(may('ORDERS/1'), true)
  assert.equal(may('orders/1', 'PUT'), true)
  assert.equal(may('orders/1', 'POST'), false, 'a verb that is not listed')
  assert.equal(may('orders/1/items'), false)
  assert.equal(may('any', 'POST'), true)
  assert.equal(may('any', ''), false, 'without a verb the policy decides')
  assert.equal(may('slash'), true)
  assert.equal(may('else'), false)
  assert.equal(may('else', 'GET', 'spiffe://public/ns/default/other'), true, 'no policy: the list decides')
  assert.equal(may('else', 'GET', 'spiffe://public/ns/elsewhere/caller'), true)
  assert.equal(may('else', 'GET', 'spiffe://other/ns/default/caller'), true, 'another trust domain: the list decides')
  assert.equal(may('else', 'GET', ''), true, 'no certificate: the list decides')
})

test('gRPC apps: methods as they stand, whatever the verb', () => {
  const may = decide(
    {
      defaultAction: 'deny',
      policies: [
        {
          appId: 'caller',
          namespace: 'default',
          trustDomain: 'public',
          operations: [
            { name: '/pkg.Svc/Get*', action: 'allow' },
            { name: 'say', httpVerb: ['PUT'], action: 'allow' },
          ],
        },
      ],
    },
    false,
  )
  assert.equal(may('/pkg.Svc/GetOne', ''), true)
  assert.equal(may('/pkg.svc/GetOne', ''), false)
  assert.equal(may('/pkg.Svc/Delete', ''), false)
  assert.equal(may('say', 'GET'), true)
  assert.equal(may('s%61y', 'GET'), false)
})

test('without a default action daprd allows, unless the word is there and empty', () => {
  const policies = [{ appId: 'caller', namespace: 'default', trustDomain: 'public', operations: [] }]
  const stranger = 'spiffe://public/ns/default/other'
  assert.equal(decide({ policies })('x', 'GET', stranger), true)
  assert.match(warnings.at(-1) ?? '', /policies and no defaultAction/)
  assert.equal(decide({ policies, defaultAction: '' })('x', 'GET', stranger), false)
  assert.equal(decide({ policies: [], defaultAction: '' })('x'), true)
  assert.equal(decide({ defaultAction: '' })('x'), false)
  assert.equal(decide({ defaultAction: 'DENY' })('x'), false)
  assert.equal(createAccessControl({ trustDomain: 'mine' }, true, log), undefined)
  assert.equal(createAccessControl(undefined, true, log), undefined)
})

test('what an HTTP app may read a path as is judged too', () => {
  const policy = { appId: 'caller', namespace: 'default', trustDomain: 'public' }
  const open = decide({
    defaultAction: 'allow',
    policies: [{ ...policy, operations: [{ name: '/admin', httpVerb: ['*'], action: 'deny' }] }],
  })
  for (const method of [
    'admin',
    'admin/x',
    '%61dmin',
    'x%2F..%2Fadmin',
    'x\\..\\admin',
    '%5Cadmin',
    'admin;x=1',
    'x;/../admin'.replace('/..', '%2F..'),
    'admin%00x',
    'admin%C0%AFx',
    '%2Fadmin',
    '.%2Fadmin',
    'ADM%49N',
  ])
    assert.equal(open(method), false, method)
  for (const method of ['x', 'administrator', 'x/admin', '%2561dmin', 'caf%C3%A9', 'a;b', 'x%2Fadmin'])
    assert.equal(open(method), true, method)
  const closed = decide({
    defaultAction: 'deny',
    policies: [{ ...policy, operations: [{ name: '/public', httpVerb: ['*'], action: 'allow' }] }],
  })
  for (const method of ['public', 'public/x', 'public/a%20b', 'public/a%2Fb', 'public/a;b=c']) assert.equal(closed(method), true, method)
  for (const method of ['public%2F..%2Fx', 'public;', 'publi%63', 'public/x%2F..%2F..%2Fadmin', 'public\\..\\x'])
    assert.equal(closed(method), false, method)
})
