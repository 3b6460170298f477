/** Types that Dapr has and we have not, and what does the same here; `''`: nothing does. */
const UNBUILT: Readonly<Record<string, readonly (readonly [types: string, instead: string])[]>> = {
  state: [
    ['oracledatabase cockroachdb yugabyte yugabytedb', 'state.postgresql or state.mysql'],
    ['aerospike couchbase coherence hazelcast ravendb rethinkdb', 'state.redis, state.mongodb or state.postgresql'],
    ['consul hashicorp.consul zookeeper jetstream', 'state.etcd or state.redis'],
    ['alicloud.tablestore cloudflare.workerskv oci.objectstorage', 'state.mongodb or state.redis'],
  ],
  pubsub: [
    ['rocketmq kubemq natsstreaming hazelcast', 'pubsub.kafka, pubsub.pulsar, pubsub.rabbitmq or pubsub.jetstream'],
    ['solace.amqp', 'pubsub.rabbitmq'],
  ],
  bindings: [
    ['alicloud.oss huawei.obs sftp', 'bindings.aws.s3, bindings.azure.blobstorage, bindings.gcp.bucket or bindings.localstorage'],
    ['aws.kinesis rocketmq gcp.pubsub kubemq', 'bindings.kafka'],
    ['cloudflare.queues', 'bindings.azure.storagequeues, bindings.rabbitmq or bindings.aws.sqs'],
    ['aws.ses postmark twilio.sendgrid', 'bindings.smtp'],
    ['alicloud.dingtalk.webhook dingtalk.webhook apns twilio.sms azure.eventgrid azure.signalr commercetools influx', 'bindings.http'],
    [
      'alicloud.tablestore azure.cosmosdb.gremlinapi rethinkdb.statechange',
      'bindings.azure.cosmosdb, bindings.aws.dynamodb or bindings.postgresql',
    ],
    ['azure.openai', 'a conversation component'],
    ['alicloud.dubbo alicloud.sls dubbo kitex kubernetes wasm zeebe.command zeebe.jobworker', ''],
  ],
  secretstores: [
    [
      'alicloud.parameterstore huaweicloud.csms tencentcloud.ssm',
      'secretstores.hashicorp.vault, secretstores.kubernetes or secretstores.local.file',
    ],
  ],
  configuration: [['azure.appconfig kubernetes', 'configuration.postgresql or configuration.redis']],
  conversation: [['anthropic aws.bedrock googleai', 'conversation.openai, whose protocol these services or a gateway before them speak']],
}

/** What to do about a type that Dapr has and we have not; undefined for any other. `pluggable`: components of the block may be plugged in. */
export function adviceForUnbuilt(type: string, pluggable: boolean): string | undefined {
  const at = type.indexOf('.')
  const [block, name] = [type.slice(0, at), type.slice(at + 1).toLowerCase()]
  const row = UNBUILT[block]?.find(([types]) => types.split(' ').includes(name))
  if (!row) return undefined
  const ways = [
    ...(row[1] ? [`use ${row[1]}`] : []),
    ...(pluggable ? [`plug one in as a process of its own, with a socket named ${name} (docs/pluggable.md)`] : []),
  ]
  return `Dapr has this type, Outrider has not built it${ways.length ? `: ${ways.join('; or ')}` : ''}`
}

/** The types that the table tells about. */
export function unbuiltTypes(): string[] {
  return Object.entries(UNBUILT).flatMap(([block, rows]) => rows.flatMap(([types]) => types.split(' ').map((name) => `${block}.${name}`)))
}
