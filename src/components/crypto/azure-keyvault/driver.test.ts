import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { keyVault } from '../../../../test/servers/clouds.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { askVault, vaultOf } from '../../azure/testing-vault.ts'
import { driver } from './driver.ts'

const server = await serverOf(keyVault)
const address = server?.address ?? ''
process.env.AZURE_AUTHORITY_HOST = address
after(() => server?.stop())
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

describe('crypto.azure.keyvault', { skip: server === undefined ? help(keyVault) : false }, () => {
  const common = { name: 'c', type: 'crypto.azure.keyvault', version: 'v1', appId: 'app', namespace: '', log }

  it('wraps in the vault, or here by the public part of a version that is named; the vault unwraps', async () => {
    const { key } = (await askVault(address, 'POST', '/keys/wrapping/create', { kty: 'RSA', key_size: 2048 })) as { key: { kid: string } }
    const version = key.kid.split('/').pop()
    await using provider = driver.create({ ...common, properties: vaultOf(address) })
    await provider.init(AbortSignal.timeout(5000))
    const fileKey = randomBytes(32)
    for (const wrapper of ['wrapping', 'wrapping/latest', `wrapping/${version}`, `wrapping/${version}`])
      for (const opener of ['wrapping', `wrapping/${version}`]) {
        const wrapped = await provider.wrapKey(fileKey, 'RSA-OAEP-256', wrapper)
        assert.equal(wrapped.length, 256)
        assert.deepEqual(await provider.unwrapKey(wrapped, 'RSA-OAEP-256', opener), fileKey)
      }
    await assert.rejects(provider.wrapKey(fileKey, 'A256KW', 'wrapping'), /error from Key Vault: .*status 400, BadParameter/)
    await assert.rejects(provider.unwrapKey(randomBytes(256), 'RSA-OAEP-256', 'wrapping'), /error from Key Vault: .*status 400/)
    await assert.rejects(provider.wrapKey(fileKey, 'RSA-OAEP-256', 'nosuch'), /error from Key Vault: .*status 404, KeyNotFound/)
    await assert.rejects(
      provider.wrapKey(fileKey, 'RSA-OAEP-256', 'nosuch/1'),
      /failed to retrieve the key encryption key: failed to get key from Key Vault: .*KeyNotFound/,
    )
  })
})
