import { randomUUID } from 'node:crypto'

/** Settings of a component that signs in at the stand-in of Key Vault. */
export function vaultOf(address: string): Record<string, string> {
  return { vaultName: 'v', endpoint: address, azureTenantId: 'tenant', azureClientId: randomUUID(), azureClientSecret: 'canary-secret' }
}

/** Asks the stand-in for what the components do not: to make secrets and keys. */
export async function askVault(address: string, method: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const form = new URLSearchParams({ client_secret: 'canary-secret', scope: 'https://vault.azure.net/.default' })
  const signed = await fetch(`${address}/tenant/oauth2/v2.0/token`, { method: 'POST', body: form })
  const { access_token: token } = (await signed.json()) as { access_token: string }
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const reply = await fetch(`${address}${path}?api-version=7.4`, { method, headers, body: JSON.stringify(body) })
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${await reply.text()}`)
  return (await reply.json()) as Record<string, unknown>
}
