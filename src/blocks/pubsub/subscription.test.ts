import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileRules } from './routing.ts'
import { topicScopes } from './scopes.ts'
import { declarative, info, merge, programmatic, type Subscription } from './subscription.ts'

const none = (message: string) => assert.fail(message)

test('reads every form of what an app answers', () => {
  const found = programmatic(
    [
      { pubsubname: 'ps', topic: 'a', route: '/a' },
      {
        pubsubname: 'ps',
        topic: 'b',
        route: '/old',
        routes: { rules: [{ match: ' event.type == "w" ', path: '/w' }], default: '/d' },
        deadLetterTopic: 'dl',
        metadata: { rawPayload: 'true', n: 1 },
      },
      { pubsubname: 'ps', topic: 'c', route: 'c', bulkSubscribe: { enabled: true, maxMessagesCount: 5 } },
    ],
    none,
  )
  assert.deepEqual(found[1]?.rules, [
    { match: 'event.type == "w"', path: '/w' },
    { match: '', path: '/d' },
  ])
  assert.deepEqual(found[2]?.bulk, { maxMessagesCount: 5, maxAwaitDurationMs: 1000 })
  assert.deepEqual(info(found[1] as Subscription), {
    pubsubname: 'ps',
    topic: 'b',
    deadLetterTopic: 'dl',
    type: 'PROGRAMMATIC',
    metadata: { rawPayload: 'true', n: '1' },
    rules: [{ match: 'event.type == "w"', path: '/w' }, { path: '/d' }],
  })
  assert.deepEqual(programmatic(null, none), [])
  assert.throws(() => programmatic({}, none), /array/)
})

test('leaves out an entry without a route, with a word', () => {
  const words: string[] = []
  assert.deepEqual(
    programmatic([{ pubsubname: 'ps', topic: 'a' }], (word) => words.push(word)),
    [],
  )
  assert.match(words[0] ?? '', /topic a .*no route/)
})

test('reads both versions of the resource, for the apps in its scopes', () => {
  const resource = (version: string, spec: unknown, scopes?: string[]) => ({
    kind: 'Subscription',
    apiVersion: `dapr.io/${version}`,
    metadata: { name: 's' },
    spec,
    ...(scopes && { scopes }),
  })
  assert.deepEqual(declarative(resource('v1alpha1', { pubsubname: 'ps', topic: 'a', route: '/a' }), 'myapp')?.rules, [
    { match: '', path: '/a' },
  ])
  assert.deepEqual(
    declarative(
      resource('v2alpha1', { pubsubname: 'ps', topic: 'a', routes: { default: '/d', rules: [{ match: 'true', path: '/r' }] } }, ['myapp']),
      'myapp',
    )?.rules,
    [
      { match: 'true', path: '/r' },
      { match: '', path: '/d' },
    ],
  )
  assert.equal(declarative(resource('v2alpha1', { pubsubname: 'ps', topic: 'a' }, ['other']), 'myapp'), undefined)
  assert.throws(() => declarative(resource('v1alpha1', { pubsubname: 'ps' }), 'myapp'), /spec\.topic is missing/)
})

test('the first subscription to a topic wins', () => {
  const [a, b] = programmatic(
    [
      { pubsubname: 'ps', topic: 'a', route: '/1' },
      { pubsubname: 'ps', topic: 'a', route: '/2' },
    ],
    none,
  )
  const words: string[] = []
  assert.deepEqual(
    merge([[a as Subscription], [b as Subscription]], (word) => words.push(word)),
    [a],
  )
  assert.equal(words.length, 1)
})

const event = { type: 'widget', data: { x: 4, price: '150', list: [1, 2], name: 'abc', on: true } }
const matching: [string, boolean][] = [
  ['event.type == "widget"', true],
  ['event.data.x > 3 && !(event.type == "y")', true],
  ['event.data.x > 4 || event.type == "z"', false],
  ['event.data.x in [1, 4]', true],
  ['has(event.data.nope)', false],
  ['has(event.data.on) && event.data.on == true', true],
  ['size(event.data.list) == 2', true],
  [
    'event.data.name.startsWith("a") && event.data.name.endsWith("c") && event.data.name.contains("b") && event.data.name.matches("^a.c$")',
    true,
  ],
  ['event.data.x > 3 ? false : true', false],
  ['int(event.data.price) > 100', true],
]
for (const [match, expected] of matching) {
  test(`CEL: ${match} is ${expected}`, async () => {
    const route = await compileRules([
      { match, path: '/yes' },
      { match: '', path: '/no' },
    ])
    assert.equal(route(event), expected ? '/yes' : '/no')
  })
}

test('CEL that is wrong is refused when read, CEL that fails when run', async () => {
  await assert.rejects(compileRules([{ match: 'event.type ==', path: '/' }]), /invalid CEL/)
  await assert.rejects(compileRules([{ match: 'foo == 1', path: '/' }]), /invalid CEL/)
  const route = await compileRules([{ match: 'event.nope == 1', path: '/' }])
  assert.throws(() => route(event))
  const text = await compileRules([{ match: 'event.type', path: '/' }])
  assert.throws(() => text(event), /not a boolean/)
  assert.equal((await compileRules([{ match: 'event.type == "other"', path: '/' }]))(event), undefined)
})

test('topic scopes', () => {
  const scopes = topicScopes(
    { allowedtopics: 'a, b,p', protectedtopics: 'p', publishingscopes: 'myapp = a; other=b', subscriptionscopes: 'myapp=a,p;other=' },
    'myapp',
  )
  assert.deepEqual(['a', 'b', 'c', 'p'].map(scopes.mayPublish), [true, false, false, false])
  assert.deepEqual(['a', 'b', 'c', 'p'].map(scopes.maySubscribe), [true, false, false, true])
  const third = topicScopes({ allowedtopics: 'a, b,p', protectedtopics: 'p', publishingscopes: 'other=b' }, 'myapp')
  assert.deepEqual(['a', 'b', 'c', 'p'].map(third.mayPublish), [true, true, false, false])
  assert.equal(topicScopes({ subscriptionscopes: 'myapp=' }, 'myapp').maySubscribe('a'), false)
})
