import type { Service } from './client.ts'

/** Services that more than one component speaks to. */
export const DYNAMODB: Service = {
  name: 'DynamoDB',
  host: 'dynamodb',
  id: 'DYNAMODB',
  target: { prefix: 'DynamoDB_20120810', version: '1.0' },
}
export const SNS: Service = { name: 'SNS', host: 'sns', id: 'SNS', version: '2010-03-31' }
export const SQS: Service = { name: 'SQS', host: 'sqs', id: 'SQS', target: { prefix: 'AmazonSQS', version: '1.0' } }
