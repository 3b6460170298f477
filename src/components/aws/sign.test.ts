import assert from 'node:assert/strict'
import { test } from 'node:test'
import { presignedQuery, signedHeaders } from './sign.ts'

// The examples of AWS's documentation: "Signature calculations" and "Authenticating requests: query parameters" of the S3 API reference.
const key = { id: 'AKIAIOSFODNN7EXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
const scope = { region: 'us-east-1', service: 's3', now: Date.UTC(2013, 4, 24) }
const request = { method: 'GET', host: 'examplebucket.s3.amazonaws.com', path: '/test.txt', query: [], headers: {} }

test('signs headers as AWS documents it', () => {
  const signed = signedHeaders({ ...request, headers: { range: 'bytes=0-9' } }, '', key, scope)
  assert.equal(
    signed.authorization,
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  )
  const put = {
    ...request,
    method: 'PUT',
    path: '/test%24file.text',
    headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
  }
  assert.match(
    String(signedHeaders(put, 'Welcome to Amazon S3.', key, scope).authorization),
    /Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd$/,
  )
  const list = {
    ...request,
    path: '/',
    query: [
      ['prefix', 'J'],
      ['max-keys', '2'],
    ] as const,
  }
  assert.match(
    String(signedHeaders(list, '', key, scope).authorization),
    /Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7$/,
  )
})

test('signs URLs as AWS documents it', () => {
  assert.match(
    presignedQuery(request, 86_400, key, scope),
    /&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404$/,
  )
})
