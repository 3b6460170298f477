import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { stringify } from 'yaml'
import { secretStoreConformance } from '../../../blocks/secrets/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

// The two calls of the API that the driver makes, as Kubernetes documents them: no cluster can run here.
const secrets: Record<string, Record<string, string>> = {
  conftestsecret: { conftestsecret: 'abcd' },
  secondsecret: { secondsecret: 'efgh' },
  db: { user: 'u', password: 'p' },
}
const folder = mkdtempSync(join(tmpdir(), 'outrider-kube-'))
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://kubernetes')
  const answer = (status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  if (request.headers.authorization !== 'Bearer canary') return answer(401, { kind: 'Status', message: 'Unauthorized' })
  const [, namespace, name] = /^\/api\/v1\/namespaces\/([^/]+)\/secrets(?:\/([^/]+))?$/.exec(url.pathname) ?? []
  if (namespace === 'closed') return answer(403, { kind: 'Status', message: 'secrets is forbidden' })
  if (namespace !== 'ours') return answer(404, { kind: 'Status', message: 'not found' })
  const object = (key: string) => ({
    metadata: { name: key },
    data: Object.fromEntries(Object.entries(secrets[key] ?? {}).map(([field, value]) => [field, Buffer.from(value).toString('base64')])),
  })
  if (name !== undefined) return secrets[name] ? answer(200, object(name)) : answer(404, { kind: 'Status', message: 'not found' })
  const names = Object.keys(secrets)
  const at = Number(url.searchParams.get('continue') ?? 0)
  const more = at + 1 < names.length ? { continue: String(at + 1) } : {}
  answer(200, { items: [object(names[at] as string)], metadata: more })
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
after(() => {
  server.close()
  server.closeAllConnections()
  rmSync(folder, { recursive: true })
})

function kubeconfig(token: string, port = (server.address() as AddressInfo).port): string {
  const path = join(folder, `config-${Math.random()}`)
  const config = {
    'current-context': 'here',
    contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: 'u', user: { token } }],
  }
  writeFileSync(path, stringify(config))
  return path
}

async function open(properties: Record<string, string>) {
  const store = driver.create({ name: 's', type: 'secretstores.kubernetes', version: 'v1', properties, appId: 'app', namespace: '', log })
  await store.init(AbortSignal.timeout(5000))
  return store
}

secretStoreConformance('secretstores.kubernetes', () => open({ kubeconfigPath: kubeconfig('canary'), defaultNamespace: 'ours' }))

test('all values of a secret are given; lists come page by page; the request may name the namespace', async () => {
  await using store = await open({ kubeconfigPath: kubeconfig('canary') })
  assert.deepEqual(await store.get('db', { namespace: 'ours' }), { user: 'u', password: 'p' })
  assert.deepEqual(Object.keys(await store.bulkGet({ namespace: 'ours' })), ['conftestsecret', 'secondsecret', 'db'])
  await assert.rejects(store.get('nope', { namespace: 'ours' }), /secrets "nope" not found/)
  await assert.rejects(store.get('db', {}), /namespace is missing/)
})

test('what the cluster refuses is told with the next step, without the token', async () => {
  await using store = await open({ kubeconfigPath: kubeconfig('canary') })
  await assert.rejects(store.get('db', { namespace: 'closed' }), /403: secrets is forbidden; give the service account a role/)
  await using wrong = await open({ kubeconfigPath: kubeconfig('canary-2') })
  await assert.rejects(
    wrong.get('db', { namespace: 'ours' }),
    (error: Error) => /401/.test(error.message) && !error.message.includes('canary'),
  )
  await using away = await open({ kubeconfigPath: kubeconfig('canary', 1) })
  await assert.rejects(away.get('db', { namespace: 'ours' }), /cannot reach Kubernetes at 127\.0\.0\.1:1/)
  await assert.rejects(open({ kubeconfigPath: join(folder, 'none') }), /kubeconfig .*none cannot be read/)
})
