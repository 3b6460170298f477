import assert from 'node:assert/strict'
import { test } from 'node:test'
import { goDecode, goEncode } from './go-json.ts'

test('writes names sorted and HTML escaped, as Go does', () => {
  assert.equal(
    goEncode({ b: '<a> & \u2028', a: [1, null, true], 10: 'x', 9: 'y' }),
    '{"10":"x","9":"y","a":[1,null,true],"b":"\\u003ca\\u003e \\u0026 \\u2028"}',
  )
})

test('keeps the digits of numbers when asked to', () => {
  const text = '{"a":12345678901234567890,"b":1.0,"c":1e5,"d":-0,"e":7}'
  assert.equal(goEncode(goDecode(text, true)), text)
})

test('ignores what follows the first value', () => {
  assert.deepEqual(goDecode('{"a":"}"} trailing'), { a: '}' })
  assert.deepEqual(goDecode('[1,[2]],3'), [1, [2]])
  assert.equal(goDecode('12abc'), 12)
  assert.equal(goDecode('"x\\"y" {'), 'x"y')
})

const broken: [string, string][] = [
  ['', 'EOF'],
  ['  ', 'EOF'],
  ['{', 'unexpected EOF'],
  ['[', 'unexpected EOF'],
  ['{"a":"b', 'unexpected EOF'],
  ['x', "invalid character 'x' looking for beginning of value"],
  ['{a', "invalid character 'a' looking for beginning of object key string"],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['{"a":1 "b"}', `invalid character '"' after object key:value pair`],
  ['[1 2]', "invalid character '2' after array element"],
  ['[1,]', "invalid character ']' looking for beginning of value"],
  ['trux', "invalid character 'x' in literal true (expecting 'e')"],
  ['"\\x"', "invalid character 'x' in string escape code"],
  ['"\n"', "invalid character '\\n' in string literal"],
  ["'", "invalid character '\\'' looking for beginning of value"],
]
for (const [text, message] of broken) {
  test(`says what is wrong with ${JSON.stringify(text)} in Go's words`, () =>
    assert.throws(() => goDecode(text), { name: 'GoSyntaxError', message }))
}
