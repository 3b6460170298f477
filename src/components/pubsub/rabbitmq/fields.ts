import type { MetadataField } from '../../metadata.ts'
import { tlsFields } from '../../rabbitmq/broker.ts'
import { drainTimeoutField } from '../fields.ts'

/** Dapr's settings of pubsub.rabbitmq and, at the end, ours. */
export const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    aliases: ['host'],
    kind: 'string',
    sensitive: true,
    description: 'amqp://user:password@host:port/vhost, amqps:// for TLS; or give hostname, username and password.',
  },
  { name: 'protocol', kind: 'string', description: 'amqp or amqps, with hostname. Default: amqp.' },
  { name: 'hostname', kind: 'string', default: 'localhost', description: 'host or host:port, when there is no connectionString.' },
  { name: 'username', kind: 'string', description: 'User, with hostname.' },
  { name: 'password', kind: 'string', sensitive: true, description: 'Password, with hostname.' },
  {
    name: 'consumerID',
    kind: 'string',
    description: 'First part of the names of queues (consumerID-topic): who has the same one shares the messages. Default: the app id.',
  },
  { name: 'durable', kind: 'bool', default: 'true', description: 'Exchanges and queues survive a restart of the server.' },
  {
    name: 'deletedWhenUnused',
    kind: 'bool',
    default: 'true',
    description: 'Queues are deleted, with their messages, when the last consumer goes; exchanges when the last queue goes.',
  },
  { name: 'autoAck', kind: 'bool', default: 'false', description: 'Messages count as handled when the app gets them: at most once.' },
  {
    name: 'deliveryMode',
    kind: 'int',
    default: '0',
    description: '2: the server writes messages to disk; 0 and 1: they are lost when it restarts.',
  },
  {
    name: 'requeueInFailure',
    kind: 'bool',
    description:
      'Whether a message that was not handled goes back to the queue; otherwise the server drops or dead-letters it. Default: true, or false with enableDeadLetter (daprd: false).',
  },
  {
    name: 'prefetchCount',
    kind: 'int',
    default: '0',
    min: 0,
    max: 255,
    description: 'Messages that a subscription may hold unacknowledged; 0: twice its handlers (daprd: no limit).',
  },
  {
    name: 'reconnectWaitSeconds',
    kind: 'duration',
    description: 'Longest wait before connecting again; waits grow from 50 ms. Default: 1s (daprd: always 3s).',
  },
  { name: 'maxLen', kind: 'int', default: '0', description: 'Most messages in a queue; beyond it the oldest go. 0: no limit.' },
  { name: 'maxLenBytes', kind: 'int', default: '0', description: 'The same in bytes.' },
  {
    name: 'enableDeadLetter',
    kind: 'bool',
    default: 'false',
    description: 'Messages that were not handled, or are dropped by a limit, go to the queue dlq-<queue> by the exchange dlx-<queue>.',
  },
  { name: 'exchangeKind', kind: 'string', default: 'fanout', description: 'fanout, topic, direct or headers.' },
  {
    name: 'publisherConfirm',
    kind: 'bool',
    default: 'true',
    description:
      'A publish ends when the server has the message. false (as in daprd): when it is sent; a lost connection then loses messages.',
  },
  {
    name: 'ttlInSeconds',
    aliases: ['ttl'],
    kind: 'string',
    description: 'Expiry of messages whose request gives none: a duration or seconds. Absent: they stay.',
  },
  { name: 'clientName', kind: 'string', description: "Name of the connection in RabbitMQ's management. Default: app id and component." },
  {
    name: 'heartBeat',
    kind: 'duration',
    default: '10s',
    min: 0,
    description: 'Time between heartbeats; a connection silent for two of them is made anew.',
  },
  {
    name: 'saslExternal',
    kind: 'bool',
    default: 'false',
    description: 'The client certificate says who we are; needs caCert, clientCert and clientKey.',
  },
  ...tlsFields,
  {
    name: 'concurrencyMode',
    aliases: ['concurrency'],
    kind: 'string',
    default: 'parallel',
    description: 'parallel (up to prefetchCount, else 100 at once), single (one after the other, in order), or a number of handlers.',
  },
  {
    name: 'publishMessagePropertiesToMetadata',
    kind: 'bool',
    default: 'false',
    description: 'Hands properties and headers of messages on as metadata.messageid, metadata.<header> and so on.',
  },
  {
    name: 'publishTimeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait of a publish for a server that is away, blocked or slow.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    unit: 1,
    default: '15s',
    min: 0,
    description:
      'Longest wait before a message that was not handled goes back to its queue; waits grow from 100 ms. A bare number is milliseconds.',
  },
  drainTimeoutField,
]
