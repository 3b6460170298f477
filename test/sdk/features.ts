import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { type TestContext, test } from 'node:test'
import { lacks } from './install.ts'
import { type Bench, binary, type Program, startBench } from './kit.ts'

// What every official SDK does, and what a program answers when the sidecar does it right. A language names those that its SDK has.

/** What the program must answer, or a check that acts meanwhile or instead. */
type Expected = readonly unknown[] | Readonly<Record<string, unknown>> | string | boolean | ((bench: Bench) => Promise<void>)

const CHECKS = {
  'wait for the sidecar': true,

  'state: save and get': [{ a: [1, 'ö'] }, 'plain', null],
  'state: bulk save': ['one', 'two'],
  'state: bulk get': [
    ['missing', null],
    ['object', { a: [1, 'ö'] }],
  ],
  'state: bulk delete': [null, null],
  'state: delete': [null],
  'state: transaction': ['one', 'two', null],
  'state: a transaction with a stale etag changes nothing': ['refused', 'one', 'two'],
  'state: a stale etag is refused': ['refused', 'two'],
  'state: query': ['cem', 'ann'],

  'pub/sub: an object and a text': [{ id: 1 }, 'hello'],
  'pub/sub: declared by a resource': [{ id: 2 }],
  'pub/sub: raw': [{ id: 3 }],
  'pub/sub: routes': [
    ['important', { id: 'a' }],
    ['other', { id: 'b' }],
  ],
  'pub/sub: dead letter': [{ id: 4 }],
  'pub/sub: retried until it succeeds': ['again', 'again', 'again'],
  'pub/sub: bulk publish': ['one', 'two', { id: 3 }],
  'pub/sub: bulk subscribe': ['one', 'two', { id: 3 }],
  'pub/sub: streaming subscription': [{ id: 5 }, 'second'],
  'pub/sub: streaming subscription with a handler': [{ id: 6 }],
  'pub/sub: an unknown component is an error': 'pubsub nosuch is not found',

  'invocation: GET and POST': async (bench: Bench) => {
    assert.deepEqual(await bench.ask('invocation: GET and POST'), answersOf(bench.appId))
  },
  'invocation: from another program': invoked,
  'invocation: messages in Any': greeted('invocation: messages in Any'),
  'invocation: gRPC proxying': greeted('invocation: gRPC proxying'),
  'invocation: through two sidecars': async (bench: Bench) => {
    const answers = answersOf(await bench.peer())
    assert.deepEqual(await bench.ask('invocation: through two sidecars'), answers)
  },
  'invocation: gRPC proxying through two sidecars': async (bench: Bench) => {
    const answers = [`hello ann from ${await bench.peer()}`]
    assert.deepEqual(await bench.ask('invocation: gRPC proxying through two sidecars'), answers)
  },
  'invocation: an unknown app is an error': 'to invoke, id: nosuch',

  'secrets: one and all': [{ password: 'open sesame' }, { password: { password: 'open sesame' }, other: { other: 'another' } }],

  'configuration: get': async (bench: Bench) => {
    await bench.redis.set('size', '10||2')
    assert.deepEqual(await bench.ask('configuration: get'), { size: '10' })
  },
  'configuration: subscribe': seesChange,

  'lock: one owner at a time': [true, false, 'belongs to others', 'success', 'does not exist'],
  'crypto: encrypt and decrypt': ['sealed', 'opened'],
  'bindings: out': 'to be kept',
  'bindings: in': true,
  'conversation: echo': ['hello'],
  'conversation: echo over Alpha1': ['hello'],
  'metadata: get': ['state.redis'],
  'metadata: get and set': { flavour: 'sweet', statestore: 'state.redis' },

  "protocol: reflection agrees with Dapr's protos": [],
  'protocol: compressed requests': true,
  'protocol: a long answer on a new connection': [2_000_000, 'one', true],
  'protocol: a deadline ends a call on both sides': ['cancelled'],
  'protocol: many calls at once on one connection': [200, 1, true],

  shutdown: async (bench: Bench) => {
    await bench.ask('shutdown')
    assert.equal(await bench.exited, 0)
  },
} satisfies Record<string, Expected>

export type Feature = keyof typeof CHECKS

/** What every SDK has, on both wires. */
const EVERY: readonly Feature[] = [
  'state: save and get',
  'state: bulk save',
  'state: bulk get',
  'state: delete',
  'state: transaction',
  'state: a stale etag is refused',
  'state: query',
  'wait for the sidecar',
  'pub/sub: an object and a text',
  'pub/sub: raw',
  'pub/sub: dead letter',
  'pub/sub: retried until it succeeds',
  'pub/sub: bulk publish',
  'pub/sub: an unknown component is an error',
  'invocation: GET and POST',
  'invocation: from another program',
  'invocation: through two sidecars',
  'invocation: an unknown app is an error',
  'secrets: one and all',
  'lock: one owner at a time',
  'bindings: out',
  'bindings: in',
  'shutdown',
]

/** What every SDK but the JavaScript one has too. */
export const MOST: readonly Feature[] = [
  'pub/sub: declared by a resource',
  'pub/sub: streaming subscription',
  'pub/sub: streaming subscription with a handler',
  'configuration: get',
  'configuration: subscribe',
  'crypto: encrypt and decrypt',
  'conversation: echo',
]

/** Where the SDK lets calls through, and the app speaks gRPC. */
export const PROXYING: readonly Feature[] = ['invocation: gRPC proxying', 'invocation: gRPC proxying through two sidecars']

/** What the real daprd does not do, and we do: with it under test the subtest is only a note. */
const OURS: Partial<Record<Feature, string>> = {
  'pub/sub: retried until it succeeds': 'pubsub.redis of daprd takes RETRY for done unless an inbound Resiliency policy says otherwise',
  'state: a transaction with a stale etag changes nothing': 'state.redis of daprd keeps what came before the stale one',
  "protocol: reflection agrees with Dapr's protos": 'daprd answers no reflection; the SDK then takes every method for there',
}

export interface Options {
  /** More that only we do for this language, with the reason. */
  ours?: Partial<Record<Feature, string>>
}

/**
 * A test with a subtest a feature, in the order of the checks, on one sidecar and one program, and on two where calls go through two.
 * @param more what this SDK has beyond what every one has
 */
export function sdkTest(name: string, language: string, program: Program, more: readonly Feature[], options: Options = {}): void {
  const features = (Object.keys(CHECKS) as Feature[]).filter((feature) => EVERY.includes(feature) || more.includes(feature))
  test(name, { timeout: 110_000 }, async (t: TestContext) => {
    const what = lacks(language)
    if (what && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${what}`)
    if (what) return t.skip(what)
    await using bench = await startBench(program)
    if (!bench) return t.skip('redis-server or PostgreSQL is not on this machine')
    for (const feature of features) {
      const todo = isDaprd && { ...OURS, ...options.ours }[feature]
      await t.test(feature, { timeout: todo ? LIMIT / 4 : LIMIT, ...(todo && { todo }) }, async (sub) => {
        const expected: Expected = CHECKS[feature]
        sub.after(() => {
          if (!sub.passed && !todo) sub.diagnostic(bench.logs())
        })
        if (typeof expected === 'function') return expected(bench)
        assert.deepEqual(await bench.ask(feature), expected)
      })
    }
  })
}

const LIMIT = 40_000
/** What a program whose environment says DAPR_API_TOKEN must say, as must everybody else. */
export const API_TOKEN = 'the token of the sidecar'
const isDaprd = basename(binary) === 'daprd'

/** A setting that changes until the program has seen a change; a store may miss what changes before it watches. */
async function seesChange(bench: Bench): Promise<void> {
  let version = 1
  const changing = setInterval(() => void bench.redis.set('color', `blue||${version++}`), 50)
  try {
    assert.deepEqual(await bench.ask('configuration: subscribe'), { color: 'blue' })
  } finally {
    clearInterval(changing)
  }
}

/** What an app says to GET and to POST of `{"name":"ann"}`. */
function answersOf(app: string) {
  return [
    { app, method: 'GET' },
    { app, method: 'POST', heard: { name: 'ann' } },
  ]
}

function greeted(feature: string) {
  return async (bench: Bench) => assert.deepEqual(await bench.ask(feature), [`hello ann from ${bench.appId}`])
}

async function invoked(bench: Bench): Promise<void> {
  const response = await fetch(`${bench.http}/v1.0/invoke/${bench.appId}/method/hello`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'dapr-api-token': API_TOKEN },
    body: '{"name":"bob"}',
  })
  assert.deepEqual([response.status, await response.json()], [200, { app: bench.appId, method: 'POST', heard: { name: 'bob' } }])
}
