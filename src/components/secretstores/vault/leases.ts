import { type Lease, LeaseGoneError, type SecretLeases } from '../../../blocks/secrets/driver.ts'

/** Asks Vault with the token at hand; `fresh`: with one that has at least half of its life before it, where it can be signed in for. */
export type AskVault = (
  method: string,
  path: string,
  options: { body?: object; fresh?: boolean; signal?: AbortSignal | undefined },
) => Promise<{ status: number; body: Buffer }>

interface Answer {
  lease_id?: unknown
  /** Seconds. */
  lease_duration?: unknown
  renewable?: unknown
  data?: Record<string, unknown> | null
  errors?: unknown
}

/** Secrets that Vault makes for who asks (databases, RabbitMQ, clouds), by their whole path: `rabbitmq/creds/shop`. `tokenLeft` is what the token has still, in milliseconds. */
export function vaultLeases(ask: AskVault, tokenLeft: () => number, textOf: (body: Buffer) => unknown): SecretLeases {
  const lifeOf = ({ lease_duration: seconds }: Answer) =>
    // When a token ends, what it has leased ends with it.
    Math.min(typeof seconds === 'number' ? seconds * 1000 : 0, tokenLeft())
  const failed = (what: string, status: number, body: Buffer) => {
    const { errors } = status < 500 ? (textOf(body) as Answer) : {}
    return `${what}: status ${status}${Array.isArray(errors) ? ` ${errors.map(String).join(', ').trim()}` : ''}`
  }
  return {
    async read(path, signal): Promise<Lease> {
      const { status, body } = await ask('GET', escapedPath(path), { fresh: true, signal })
      if (status !== 200) throw new Error(failed(`${path} cannot be had`, status, body))
      const answer = textOf(body) as Answer
      const values = Object.entries(answer.data ?? {}).map(([key, value]) => [
        key,
        typeof value === 'string' ? value : JSON.stringify(value),
      ])
      return {
        id: typeof answer.lease_id === 'string' ? answer.lease_id : '',
        duration: lifeOf(answer),
        renewable: answer.renewable === true,
        values: Object.fromEntries(values) as Record<string, string>,
      }
    },
    async renew(id, signal) {
      const { status, body } = await ask('PUT', 'sys/leases/renew', { body: { lease_id: id }, signal })
      if (status === 400 || status === 403 || status === 404) throw new LeaseGoneError(failed('the lease cannot be renewed', status, body))
      if (status !== 200) throw new Error(failed('the lease cannot be renewed', status, body))
      const answer = textOf(body) as Answer
      return { duration: lifeOf(answer), renewable: answer.renewable === true }
    },
    async revoke(id, signal) {
      const { status, body } = await ask('PUT', 'sys/leases/revoke', { body: { lease_id: id }, signal })
      if (status !== 204 && status !== 200) throw new Error(failed('the lease cannot be given back', status, body))
    },
  }
}

function escapedPath(path: string): string {
  const segments = path.split('/').filter(Boolean)
  if (segments.some((segment) => segment === '.' || segment === '..')) throw new Error(`${path} is no path in Vault`)
  return segments.map(encodeURIComponent).join('/')
}
