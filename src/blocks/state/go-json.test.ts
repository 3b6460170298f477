import assert from 'node:assert/strict'
import { it } from 'node:test'
import { parseJson } from './go-json.ts'

it('reads the first value and ignores what follows, unless the text must be one value', () => {
  assert.deepEqual(parseJson('{"a":[1,-2.5e3,"\\u00e9\\n",null,true]} trailing'), { a: [1, -2500, 'é\n', null, true] })
  assert.equal(parseJson('12 13'), 12)
  assert.throws(() => parseJson('12 13', true), { message: "invalid character '1' after top-level value" })
})

for (const [text, message, whole] of [
  ['', 'EOF', false],
  ['  ', 'EOF', false],
  ['[{"key":', 'unexpected EOF', false],
  ['{', 'unexpected EOF', false],
  ['{', 'unexpected end of JSON input', true],
  ['no', "invalid character 'o' in literal null (expecting 'u')", false],
  ['x', "invalid character 'x' looking for beginning of value", false],
  ['{a', "invalid character 'a' looking for beginning of object key string", false],
  ['{"a" 1}', "invalid character '1' after object key", false],
  ['{"a":1 2}', "invalid character '2' after object key:value pair", false],
  ['[1 2]', "invalid character '2' after array element", false],
  ['"a\nb"', "invalid character '\\n' in string literal", false],
  ['"\\x"', "invalid character 'x' in string escape code", false],
  ['"\\u12x"', "invalid character 'x' in \\u hexadecimal character escape", false],
  ['-x', "invalid character 'x' in numeric literal", false],
  ['1.x', "invalid character 'x' after decimal point in numeric literal", false],
  ["'", "invalid character '\\'' looking for beginning of value", false],
] as const) {
  it(`says of ${JSON.stringify(text)}: ${message}`, () => assert.throws(() => parseJson(text, whole), { name: 'JsonTextError', message }))
}

it('refuses bottomless nesting instead of overflowing', () => {
  assert.throws(() => parseJson('['.repeat(2_000_000)), { message: 'exceeded max depth' })
})
