import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePorts } from './ports.ts'
import { choosePorts, emptySettings } from './settings.ts'

test('free ports are distinct and none is one that is spoken for', async () => {
  const first = await freePorts(20)
  assert.equal(new Set(first).size, 20)
  const taken = new Set(first)
  assert.ok((await freePorts(20, taken)).every((port) => !taken.has(port)))
})

test('ports left to choose differ from those that this app and the others asked for', async () => {
  for (let round = 0; round < 50; round++) {
    const [given, others] = (await freePorts(2)) as [number, number]
    const settings = { ...emptySettings('a', '/nowhere'), daprHttpPort: given }
    await choosePorts(settings, [{ ...emptySettings('b', '/nowhere'), daprHttpPort: others }])
    const chosen = [settings.daprGrpcPort, settings.metricsPort, settings.daprInternalGrpcPort]
    assert.ok(!chosen.includes(given) && !chosen.includes(others))
  }
})
