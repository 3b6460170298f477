import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Run, startEventsApp } from '../bench/certify-run.ts'
import { Victim } from '../bench/certify-server.ts'
import { SUBJECTS } from '../bench/certify-subjects.ts'
import { ownServer } from './servers/server.ts'
import { startSidecar } from './sidecar.ts'

// The quick part of docs/components/CERTIFICATION.md, which bench/certify.ts measures as a whole: a server that hangs (SIGSTOP)
// under 100 requests a second through the real sidecar. Limits are those of a busy machine; the page has the times of a quiet one.
const SECONDS = 10

describe('a server that hangs', { concurrency: true, skip: process.platform === 'linux' ? false : 'it reads /proc' }, () => {
  for (const driver of ['pubsub.redis', 'state.postgresql'])
    it(`${driver}: bounded waits with an error, memory stays, health tells, nothing acknowledged is lost, back by itself`, {
      timeout: 120_000,
    }, async (context) => {
      const subject = SUBJECTS.find((one) => one.driver === driver)
      assert.ok(subject)
      const server = await ownServer(subject.server)
      if (!server) return context.skip(`no ${subject.server.name} on this machine`)
      const address = /127\.0\.0\.1:(\d+)/.exec(server.address) as RegExpExecArray
      const victim = new Victim(server, Number(address[1]))
      const folder = mkdtempSync(join(tmpdir(), 'outrider-certification-'))
      const resources = join(folder, 'resources')
      mkdirSync(resources)
      const metadata = Object.entries(subject.properties(address[0])).map(([name, value]) => ({ name, value }))
      const resource = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: 'target' } }
      writeFileSync(join(resources, 'target.yaml'), JSON.stringify({ ...resource, spec: { type: driver, version: 'v1', metadata } }))
      const app = driver.startsWith('pubsub') ? await startEventsApp() : undefined
      try {
        const given = { appId: `certification-${driver.replace('.', '-')}-${process.pid}`, dataDir: folder, resources }
        await using sidecar = await startSidecar({ ...given, ...(app ? { appPort: app.port } : {}) })
        const run = new Run(driver, sidecar, app)
        await run.warmUp(2000)
        const cut = { name: 'stopped', seconds: SECONDS, begin: () => victim.pause(), end: () => victim.resume(), after: 1500 }
        const { lost, failed, longest, back, told, error, rss } = await run.through(cut)
        assert.equal(lost, 0)
        // They got their error while the server was away still: what waits for it has an end.
        assert.ok(failed > 0)
        assert.match(error, /127\.0\.0\.1:\d+.*(start the server|correct redisHost)/)
        assert.ok(longest < 3 * SECONDS, `${longest} s for an answer`)
        assert.ok(back < 15, `${back} s until a request succeeded`)
        assert.ok(told !== undefined, 'health did not tell')
        assert.ok(rss[1] - rss[0] < 64, `memory ${rss.join(' → ')} MiB`)
      } finally {
        await app?.close()
        await victim.stop()
        rmSync(folder, { recursive: true, force: true })
      }
    })
})
