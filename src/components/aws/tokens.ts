import { type AwsKey, presignedQuery } from './sign.ts'

/** Seconds for which a token opens connections. */
const LIFETIME = 900
const NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/**
 * The password of a database user at RDS or Aurora. `endpoint`: host:port; `now`: milliseconds of the epoch.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
 */
export function databaseToken(endpoint: string, user: string, key: AwsKey, region: string, now: number): string {
  const query = [
    ['Action', 'connect'],
    ['DBUser', user],
  ] as const
  const signed = presigned(endpoint, query, key, { region, service: 'rds-db', now })
  return `${endpoint}/?${signed}`
}

/**
 * The bearer token of Amazon MSK's brokers for SASL/OAUTHBEARER. `now`: milliseconds of the epoch.
 * https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html
 */
export function brokerToken(key: AwsKey, region: string, now: number): string {
  const host = `kafka.${region}.amazonaws.com`
  const signed = presigned(host, [['Action', 'kafka-cluster:Connect']], key, { region, service: 'kafka-cluster', now })
  return Buffer.from(`https://${host}/?${signed}&User-Agent=outrider`).toString('base64url')
}

function presigned(
  host: string,
  query: readonly (readonly [string, string])[],
  key: AwsKey,
  scope: { region: string; service: string; now: number },
): string {
  return presignedQuery({ method: 'GET', host, path: '/', query, headers: {} }, LIFETIME, key, scope, NOTHING)
}
