import { AwsClient, type Service } from './client.ts'
import { DYNAMODB } from './services.ts'

/** The account's fields of a component that uses the server that tests have in place of AWS, by its address `http://key:secret@host:port`. */
export function accountOf(address: string): { region: string; accessKey: string; secretKey: string; endpoint: string } {
  const { username, password, host } = new URL(address)
  return { region: 'us-east-1', accessKey: username, secretKey: decodeURIComponent(password), endpoint: `http://${host}` }
}

/** A client of the tests' own there. */
export function clientOf(address: string, service: Service): AwsClient {
  const { region, accessKey, secretKey, endpoint } = accountOf(address)
  return new AwsClient({ service, region, endpoint: new URL(endpoint), key: async () => ({ id: accessKey, secret: secretKey }) })
}

/** A table of DynamoDB whose partition key is `key`; undisturbed where there is one. */
export async function makeTable(address: string, name: string, key = 'key'): Promise<void> {
  await using client = clientOf(address, DYNAMODB)
  const table = {
    TableName: name,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
    KeySchema: [{ AttributeName: key, KeyType: 'HASH' }],
  }
  await client.json('CreateTable', table).catch((error: Error) => {
    if (!/ResourceInUse/.test(error.message)) throw error
  })
}
