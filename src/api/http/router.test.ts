import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Route } from './route.ts'
import { cleanPath, ParameterError, Router } from './router.ts'

function routerOf(...rows: [methods: string[], path: string][]): Router {
  const router = new Router()
  for (const [methods, path] of rows)
    router.add({ methods, path, group: 'g', version: 'v1', name: path, handler: () => undefined } satisfies Route)
  return router
}

test('static segments beat parameters, parameters beat the wildcard', () => {
  const router = routerOf(
    [['GET', 'POST'], '/v1.0/state/:store/:key'],
    [['POST'], '/v1.0/state/:store/bulk'],
    [['POST'], '/v1.0/publish/:pubsub/*'],
    [['POST'], '/v1.0/publish/bulk/:pubsub/*'],
  )
  assert.equal(router.find('POST', '/v1.0/state/s/bulk')?.route.path, '/v1.0/state/:store/bulk')
  assert.equal(router.find('GET', '/v1.0/state/s/bulk')?.route.path, '/v1.0/state/:store/:key')
  assert.deepEqual(router.find('POST', '/v1.0/publish/p/a/b')?.params, { pubsub: 'p', '*': 'a/b' })
  assert.deepEqual(router.find('POST', '/v1.0/publish/bulk/p/t')?.params, { pubsub: 'p', '*': 't' })
  assert.equal(router.find('PATCH', '/v1.0/state/s/k'), undefined)
  assert.equal(router.find('GET', '/v1.0/state/s/'), undefined)
})

test('a parameter is decoded once, by query rules, and an encoded slash stays inside it', () => {
  const router = routerOf([['GET'], '/s/:key'])
  assert.deepEqual(router.find('GET', '/s/a%2Fb')?.params, { key: 'a/b' })
  assert.deepEqual(router.find('GET', '/s/a+b')?.params, { key: 'a b' })
  assert.deepEqual(router.find('GET', '/s/%252e%252e')?.params, { key: '%2e%2e' })
  assert.throws(() => router.find('GET', '/s/%zz'), ParameterError)
})

test('paths are cleaned as Go cleans them, still escaped', () => {
  assert.equal(cleanPath('/a//b/./c/../d'), '/a/b/d')
  assert.equal(cleanPath('/../..'), '/')
  assert.equal(cleanPath('/a/'), '/a/')
  assert.equal(cleanPath('/a/%2e%2e/b'), '/a/%2e%2e/b')
})
