import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { isLost, isUnreachable } from './unreachable.ts'

const caused = (message: string, cause: Error) => new Error(message, { cause })
class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
}

// As the drivers and their libraries say it.
const lost: unknown[] = [
  Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:6379'), { code: 'ECONNREFUSED' }),
  new Error('Redis at 127.0.0.1:6379 is away'),
  new Error('Redis at 127.0.0.1:6379: the server closed the connection'),
  new Error('Redis at 127.0.0.1:6379 did not answer XADD within 3000 ms'),
  new Error('LOADING Redis is loading the dataset in memory'),
  new Error('the connection to Redis is closed'),
  new Error('orders: RabbitMQ at 127.0.0.1:5672 is not connected (it has closed the connection); gave up after 5000 ms'),
  new Error('orders: RabbitMQ at 127.0.0.1:5672 takes no messages now (low on memory)'),
  new Error('orders: NATS at 127.0.0.1:4222 is not connected'),
  new Error('orders: NATS at 127.0.0.1:4222 has not acknowledged the message within 5000 ms; it may have arrived nevertheless'),
  caused('orders cannot publish to topic t: no broker answers', new UnreachableError('127.0.0.1:9092')),
  new Error('context deadline exceeded'),
  new Error('circuit breaker is open'),
  new Error('write EPIPE'),
  new AggregateError([new Error('one'), Object.assign(new Error('two'), { code: 'ECONNRESET' })]),
  caused('the component failed', new GrpcStatus(Code.Unavailable, 'no')),
]
const answered: unknown[] = [
  new Error('OOM command not allowed when used memory > maxmemory'),
  new Error('NOAUTH Authentication required.'),
  new Error('WRONGTYPE Operation against a key holding the wrong kind of value'),
  new Error('Kafka says MESSAGE_TOO_LARGE: the message is larger than the broker takes (max.message.bytes of the topic)'),
  new Error('Kafka says TOPIC_AUTHORIZATION_FAILED: this user may not use the topic'),
  new Error('NATS at 127.0.0.1:4222 refused the message: maximum messages per subject exceeded'),
  new Error('orders: no JetStream stream of NATS at 127.0.0.1:4222 takes subject t: create one that does'),
  caused('the component failed', new GrpcStatus(Code.PermissionDenied, 'no')),
  'no error at all',
]

for (const error of lost) test(`away: ${error}`, () => assert.equal(isLost(error), true))
for (const error of answered) test(`an answer: ${error}`, () => assert.equal(isLost(error), false))

test('what a server that starts says is waited for; what a lost connection says is not, when a component begins', () => {
  assert.equal(isUnreachable(lost[0]), true)
  assert.equal(isUnreachable(new Error('the server closed the connection')), false)
})

test('the name of a topic is not taken for what the error says', () => {
  const error = new Error('topic "timeout" of orders does not exist')
  assert.deepEqual([isLost(error), isLost(error, ['orders', 'timeout'])], [true, false])
  assert.equal(isLost(new Error('topic t: read ECONNRESET'), ['t']), true)
})
