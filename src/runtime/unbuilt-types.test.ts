import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allDrivers, findDriver } from './drivers.ts'
import { adviceForUnbuilt, unbuiltTypes } from './unbuilt-types.ts'

test('a type that Dapr has and we have not is refused with what to use, which we have', async () => {
  const built = new Set((await allDrivers()).map(({ type }) => type))
  assert.ok(unbuiltTypes().length > 60)
  for (const type of unbuiltTypes()) {
    assert.ok(!built.has(type), `${type} is built: take it out of the table`)
    await assert.rejects(findDriver(type, 'v1'), (error: Error) => {
      assert.ok(error.message.startsWith(`couldn't find ${type.split('.')[0]} ${type}/v1: Dapr has this type, Outrider has not built it`))
      for (const [named] of error.message.matchAll(
        /\b(?:state|pubsub|bindings|secretstores|configuration|crypto|conversation)\.[a-z0-9.-]+[a-z0-9]/g,
      ))
        assert.ok(named === type || built.has(named), `${type}: ${named} is not built`)
      return true
    })
  }
})

test('how to plug one in is said for blocks that take such components, and of types nobody knows nothing', () => {
  assert.match(
    adviceForUnbuilt('state.oracledatabase', true) ?? '',
    /use state\.postgresql or state\.mysql; or plug one in .* socket named oracledatabase/,
  )
  assert.match(adviceForUnbuilt('conversation.anthropic', false) ?? '', /use conversation\.openai[^;]*$/)
  assert.equal(adviceForUnbuilt('state.nosuch', true), undefined)
})
