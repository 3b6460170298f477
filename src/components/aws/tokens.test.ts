import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brokerToken, databaseToken } from './tokens.ts'

// What boto3 and aws-msk-iam-sasl-signer-python made of the same keys at that second.
const now = Date.UTC(2026, 10, 22, 4, 40, 46)
const key = { id: 'AKIDEXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const temporary = { ...key, token: 'tok/en+=' }
const signature = (text: string) => /X-Amz-Signature=(\w+)/.exec(text)?.[1]

test('the password of a database user is what the SDK makes', () => {
  const token = databaseToken('db.example.com:5432', 'app user', key, 'eu-central-1', now)
  assert.equal(
    token,
    'db.example.com:5432/?Action=connect&DBUser=app%20user&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261122%2Feu-central-1%2Frds-db%2Faws4_request&X-Amz-Date=20261122T044046Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=6600c4520658df422a171ec63628c768e675c925cb9c983441be787ad31e37e7',
  )
  const other = databaseToken('db.example.com:5432', 'app user', temporary, 'eu-central-1', now)
  assert.equal(signature(other), '21866656a9cf80b5b7e4aa3142de237589504c1676de806ae5e376f0248120b4')
})

test('the token for brokers is what the SDK makes, but for who made it', () => {
  const read = (token: string) => {
    assert.doesNotMatch(token, /[=+/]/)
    return Buffer.from(token, 'base64url').toString()
  }
  const url = read(brokerToken(key, 'eu-central-1', now))
  assert.match(
    url,
    /^https:\/\/kafka\.eu-central-1\.amazonaws\.com\/\?Action=kafka-cluster%3AConnect&.*X-Amz-Expires=900&.*&User-Agent=outrider$/,
  )
  assert.equal(signature(url), '7dd3db1edd32386d17275f05c296bfb97af250882d1e1a95a784263349385de0')
  assert.equal(
    signature(read(brokerToken(temporary, 'eu-central-1', now))),
    'f1a8353ba5a776931f094c7a60acaea6ca3294e15952f650156f23a5d8931037',
  )
})
