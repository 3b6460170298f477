import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from '../testing/fuzz.ts'
import { evaluateAll } from './flags.ts'
import { contextOf } from './ofrep.ts'
import { entriesOf } from './source.ts'
import { isTree, merged, tagOf, treeOf } from './tree.ts'

test('whatever keys and values there are, they become a tree that can be told, without a prototype', () => {
  const words = ['a', 'b', '__proto__', 'constructor', 'features', '', 'ü', 'toString']
  const texts = ['1', '{"a":{"__proto__":1}}', '[1', 'true', 'word', '', '{"b":2}', '00012', '123456789012345678901', 'null']
  fuzz((random) => {
    const pairs = Array.from({ length: random.int(12) }, (): [string, string] => {
      const key = Array.from({ length: 1 + random.int(6) }, () => words[random.int(words.length)]).join('/')
      return [key, random.mutate(Buffer.from(texts[random.int(texts.length)] as string)).toString()]
    })
    const entries = entriesOf(pairs, {})
    for (const service of words) {
      const tree = treeOf(entries, service)
      if (tree === undefined) continue
      assert.equal(Object.getPrototypeOf(tree), null)
      assert.equal(tagOf(tree), tagOf(merged({}, tree)))
      assert.ok(JSON.stringify(tree).length > 0)
    }
    assert.equal(({} as Record<string, unknown>).a, undefined)
  })
})

test('whatever a flag and a context are, an evaluation gives a value or says what is wrong', () => {
  const flags = Buffer.from(
    '{"a":true,"b":{"variants":{"on":1,"off":2},"defaultVariant":"on","state":"ENABLED","rules":[{"when":{"plan":["x",1]},"variant":"off"},{"split":{"on":1,"off":3}}]}}',
  )
  const context = Buffer.from('{"context":{"targetingKey":"u","plan":"x","n":null}}')
  let wrong = 0
  fuzz((random) => {
    try {
      const given: unknown = JSON.parse((random.int(4) === 0 ? flags : random.mutate(flags)).toString())
      if (!isTree(given)) return
      for (const flag of evaluateAll(given, contextOf(random.int(2) === 0 ? context : random.mutate(context))))
        assert.ok('errorCode' in flag ? flag.errorDetails.length > 0 : 'value' in flag)
    } catch (error) {
      if (!(error instanceof SyntaxError) && !/has to be an object/.test(String(error))) throw error
      wrong++
    }
  })
  assert.ok(wrong > 0)
})
