import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { accepts } from './process.ts'
import { serverOf } from './server.ts'
import { SERVERS } from './table.ts'

describe('the servers of the tests', () => {
  for (const kind of SERVERS) {
    it(`${kind.name} starts and accepts connections`, async (t) => {
      const server = await serverOf(kind)
      if (!server) return t.skip(`${kind.name} is not on this machine`)
      t.after(() => server.stop())
      const { hostname, port } = new URL(server.address.includes('://') ? server.address : `tcp://${server.address}`)
      assert.equal(await accepts(hostname, Number(port)), true)
    })
  }
})
