import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shownAddress } from './shown-address.ts'

test('an address is quoted without who logs in', () => {
  for (const [given, shown] of [
    ['localhost:6379', 'localhost:6379'],
    ['http://host/a?b', 'http://host/a?b'],
    ['http://user:secret@host/a', 'http://(hidden)@host/a'],
    ['user:s@cr/t@host', '(hidden)@host'],
    ['redis://:s\n@[', 'redis://(hidden)@['],
  ] as const)
    assert.equal(shownAddress(given), shown)
})
