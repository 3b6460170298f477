import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { redis } from '../test/servers/redis.ts'
import { Run, type RunResult, startEventsApp } from './certify-run.ts'
import { Victim } from './certify-server.ts'
import { SUBJECTS } from './certify-subjects.ts'
import { startSidecar } from './sidecar.ts'

/** Prefixes of the drivers in what is measured here. */
export const PEERS = ['outriderd', 'daprd'] as const

/**
 * pubsub.redis of bin/outriderd and of a daprd beside each other, on one Redis that hangs and that is killed: each with its app,
 * its database and 100 publishes a second, at the same time.
 */
export async function besidePeer(daprd: string, wantsCut: (name: string) => boolean, keep: (result: RunResult) => void): Promise<void> {
  const subject = SUBJECTS.find(({ driver }) => driver === 'pubsub.redis')
  if (!subject || !redis.available()) return console.log('no Redis on this machine')
  const server = await redis.start()
  const port = Number(server.address.split(':')[1])
  const victim = new Victim(server, port)
  const durable = (args: string[]) => subject.durable?.(args, port, port) ?? args
  const folder = mkdtempSync(join(tmpdir(), 'outrider-certify-peer-'))
  await using things = new AsyncDisposableStack()
  things.defer(() => rmSync(folder, { recursive: true, force: true }))
  things.defer(() => victim.stop())
  await (await victim.kill())(durable)
  const runs = await Promise.all(
    PEERS.map(async (name, index) => {
      const resources = join(folder, name)
      mkdirSync(resources)
      const properties = { ...subject.properties(server.address), redisPassword: '', redisDB: String(index) }
      const metadata = Object.entries(properties).map(([field, value]) => ({ name: field, value }))
      const resource = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: 'target' } }
      writeFileSync(
        join(resources, 'target.yaml'),
        JSON.stringify({ ...resource, spec: { type: 'pubsub.redis', version: 'v1', metadata } }),
      )
      const app = await startEventsApp()
      things.defer(() => app.close())
      const binary = name === 'daprd' ? { binary: [daprd] } : { more: { 'outrider-data-dir': resources } }
      const sidecar = await startSidecar({ appId: `certify-${name}`, resources, appPort: app.port, ...binary })
      things.defer(() => sidecar.stop())
      return new Run(`${name} pubsub.redis`, { pid: sidecar.pid, http: `http://127.0.0.1:${sidecar.httpPort}` }, app)
    }),
  )
  await Promise.all(runs.map((run) => run.warmUp()))
  const cuts = [
    { name: 'server stopped 20 s', seconds: 20, begin: () => victim.pause(), end: () => victim.resume() },
    {
      name: 'server killed 10 s',
      seconds: 10,
      begin: async () => {
        restart = await victim.kill()
      },
      end: () => restart(durable),
    },
  ]
  let restart = async (_change: typeof durable) => {}
  for (const cut of cuts.filter(({ name }) => wantsCut(name))) {
    const [begin, end] = [once(cut.begin), once(cut.end)]
    await Promise.all(runs.map(async (run) => keep(await run.through({ ...cut, begin, end }))))
  }
}

/** Both runs come to it at the same moment. */
function once(work: () => Promise<void> | void): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => {
    done ??= Promise.resolve(work())
    return done
  }
}
