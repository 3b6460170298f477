import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A key-value engine with Vault's HTTP API as its documentation describes it: versions, LIST, deleted versions, tokens, the
 * sign-in of Kubernetes. Written for the tests: no registry has a Vault that starts in seconds.
 */
export interface VaultDouble extends AsyncDisposable {
  url: string
  /** Versions of a secret by its path below the engine; undefined: deleted. */
  readonly secrets: Map<string, (Record<string, unknown> | undefined)[]>
  /** Tokens that are let in. */
  readonly tokens: Set<string>
  sealed: boolean
  readonly asked: string[]
  /** What `creds/app` gives: seconds of a lease, and from its beginning at most. */
  readonly lease: { ttl: number; max: number; renewable: boolean }
  /** Seconds of a token that was signed in for; undefined: Vault does not say. */
  tokenLife?: number
  /** By their ids. */
  readonly leases: Map<string, { began: number; ends: number; revoked?: true }>
}

export async function vaultDouble(): Promise<VaultDouble> {
  const secrets: VaultDouble['secrets'] = new Map()
  const tokens = new Set(['root'])
  const asked: string[] = []
  const lease: VaultDouble['lease'] = { ttl: 3600, max: 86_400, renewable: true }
  const leases: VaultDouble['leases'] = new Map()
  const double: Omit<VaultDouble, 'url' | keyof AsyncDisposable> = { secrets, tokens, sealed: false, asked, lease, leases }
  const server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://vault')
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    const read = (then: (body: unknown) => void) => {
      let text = ''
      request.on('data', (part: Buffer) => {
        text += part.toString()
      })
      request.on('end', () => then(JSON.parse(text)))
    }
    asked.push(`${request.method} ${request.url}`)
    if (url.pathname === '/v1/sys/health') return answer(double.sealed ? 503 : 200, { sealed: double.sealed })
    if (double.sealed) return answer(503, { errors: ['Vault is sealed'] })
    if (url.pathname === '/v1/auth/kubernetes/login') {
      read((body) => {
        const { role, jwt } = body as { role: string; jwt: string }
        if (role !== 'app' || jwt !== 'service-account') return answer(400, { errors: ['invalid role or jwt'] })
        tokens.add('signed-in')
        answer(200, { auth: { client_token: 'signed-in', lease_duration: double.tokenLife } })
      })
      return
    }
    if (!tokens.has(String(request.headers['x-vault-token'])) || request.headers['x-vault-request'] !== 'true')
      return answer(403, { errors: ['permission denied'] })
    if (url.pathname === '/v1/rabbit/creds/app') {
      const lease_id = `rabbit/creds/app/${leases.size + 1}`
      leases.set(lease_id, { began: Date.now(), ends: Date.now() + lease.ttl * 1000 })
      const data = { username: `user-${leases.size}`, password: 'hunter2-canary' }
      return answer(200, { lease_id, lease_duration: lease.ttl, renewable: lease.renewable, data })
    }
    if (/^\/v1\/sys\/leases\/(renew|revoke)$/.test(url.pathname) && request.method === 'PUT')
      return read((body) => {
        const held = leases.get((body as { lease_id: string }).lease_id)
        if (!held || held.revoked || held.ends < Date.now()) return answer(400, { errors: ['lease not found'] })
        if (url.pathname.endsWith('revoke')) {
          held.revoked = true
          return void response.writeHead(204).end()
        }
        held.ends = Math.min(Date.now() + lease.ttl * 1000, held.began + lease.max * 1000)
        const lease_duration = (held.ends - Date.now()) / 1000
        answer(200, { lease_id: (body as { lease_id: string }).lease_id, lease_duration, renewable: lease.renewable, data: null })
      })
    const [, engine, ...rest] = decodeURIComponent(url.pathname).slice(1).split('/')
    const second = engine !== 'old'
    const path = rest.slice(second ? 1 : 0).join('/')
    if (url.searchParams.get('list') === 'true') {
      const below = [...secrets.keys()].filter((key) => key.startsWith(path)).map((key) => key.slice(path.length).replace(/^\//, ''))
      const keys = [...new Set(below.map((key) => (key.includes('/') ? `${key.split('/')[0]}/` : key)))]
      return keys.length > 0 ? answer(200, { data: { keys } }) : answer(404, { errors: [] })
    }
    const versions = secrets.get(path)
    const wanted = Number(url.searchParams.get('version') ?? 0) || versions?.length || 0
    const data = versions?.[wanted - 1]
    if (!data) return answer(404, { errors: [] })
    answer(200, { data: second ? { data, metadata: { version: wanted } } : data })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(double, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  })
}
