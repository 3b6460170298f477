import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { moto, startMoto } from '../../../test/servers/moto.ts'
import { Keys, STS } from './keys.ts'
import type { AwsSettings } from './settings.ts'
import { clientOf } from './testing.ts'
import { textIn } from './xml.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-keys-'))
after(() => rmSync(folder, { recursive: true }))
const nothing: AwsSettings = { region: 'us-east-1', endpoint: undefined, key: undefined, role: undefined }
const empty = { AWS_CONFIG_FILE: '/nosuch', AWS_SHARED_CREDENTIALS_FILE: '/nosuch', AWS_EC2_METADATA_DISABLED: 'true' }

async function keyFrom(settings: Partial<AwsSettings>, env: NodeJS.ProcessEnv) {
  await using keys = new Keys({ ...nothing, ...settings }, { ...empty, ...env })
  return await keys.current()
}

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

/** The key services of containers and machines, as AWS documents them. */
async function keyServer(t: TestContext, lifetime = 3_600_000) {
  let asked = 0
  const server = createServer((request, response) => {
    const { url = '', method, headers } = request
    const refuse = (status: number) => response.writeHead(status).end()
    const give = () => {
      const Expiration = new Date(Date.now() + lifetime).toISOString()
      response.end(JSON.stringify({ AccessKeyId: `K${++asked}`, SecretAccessKey: 's', Token: 't', Expiration }))
    }
    if (url === '/container') return headers.authorization === 'word' ? give() : refuse(403)
    if (url === '/latest/api/token')
      return method === 'PUT' && headers['x-aws-ec2-metadata-token-ttl-seconds'] ? response.end('session') : refuse(400)
    if (headers['x-aws-ec2-metadata-token'] !== 'session') return refuse(401)
    if (url === '/latest/meta-data/iam/security-credentials/') return response.end('role-of-the-machine')
    if (url === '/latest/meta-data/iam/security-credentials/role-of-the-machine') return give()
    refuse(404)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe("AWS's keys", () => {
  it('come from the settings, the environment and the profile, in this order', async () => {
    const credentials =
      '[default]\naws_access_key_id = P\naws_secret_access_key=p\n[other]\naws_access_key_id = O\naws_secret_access_key = o\naws_session_token = x\n'
    const env = { AWS_SHARED_CREDENTIALS_FILE: file('credentials', credentials), AWS_ACCESS_KEY_ID: 'E', AWS_SECRET_ACCESS_KEY: 'e' }
    assert.equal((await keyFrom({ key: { id: 'S', secret: 's', token: undefined } }, env)).id, 'S')
    assert.deepEqual(await keyFrom({}, env), { id: 'E', secret: 'e', token: undefined })
    assert.deepEqual(await keyFrom({}, { ...env, AWS_PROFILE: 'other' }), { id: 'O', secret: 'o', token: 'x' })
    assert.equal((await keyFrom({}, { ...env, AWS_ACCESS_KEY_ID: '' })).id, 'P')
  })

  it('say where there is none, and what is not supported', async () => {
    await assert.rejects(keyFrom({}, {}), /no AWS key: none in metadata \(accessKey, secretKey\), the environment, profile default/)
    const config = file('config', '[profile sso]\nregion = eu-west-1\nsso_session = me\n')
    await assert.rejects(
      keyFrom({}, { AWS_CONFIG_FILE: config, AWS_PROFILE: 'sso' }),
      /profile sso signs in by sso_session, which is not supported/,
    )
  })

  it("come from the container's and the machine's service", async (t) => {
    const address = await keyServer(t)
    const token = file('token', 'word\n')
    const container = { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${address}/container`, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: token }
    const { id, secret, token: session } = await keyFrom({}, container)
    assert.deepEqual([id, secret, session], ['K1', 's', 't'])
    assert.equal((await keyFrom({}, { AWS_EC2_METADATA_DISABLED: '', AWS_EC2_METADATA_SERVICE_ENDPOINT: address })).id, 'K2')
    await assert.rejects(keyFrom({}, { ...container, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file('token', 'no') }), /answered 403/)
  })

  it('are asked for once, and again when they run out or there were none', async (t) => {
    const of = (address: string) => ({
      ...empty,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${address}/container`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'word',
    })
    await using lasting = new Keys(nothing, of(await keyServer(t)))
    assert.deepEqual(
      (await Promise.all([lasting.current(), lasting.current()])).map(({ id }) => id),
      ['K1', 'K1'],
    )
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    assert.equal((await lasting.current()).id, 'K1')
    t.mock.timers.tick(3_500_000)
    assert.equal((await lasting.current()).id, 'K2')
    const env: NodeJS.ProcessEnv = { ...empty }
    await using late = new Keys(nothing, env)
    await assert.rejects(late.current())
    Object.assign(env, { AWS_ACCESS_KEY_ID: 'E', AWS_SECRET_ACCESS_KEY: 'e' })
    assert.equal((await late.current()).id, 'E')
  })

  describe('of STS', { skip: moto.available() ? false : 'moto is not on this machine' }, () => {
    let address: string
    let stop: () => Promise<void>
    before(async () => {
      ;({ address, stop } = await startMoto(false))
    })
    after(() => stop())
    const role = 'arn:aws:iam::123456789012:role/reader'
    const whoIs = async (key: { id: string; secret: string; token?: string | undefined }) => {
      const url = new URL(address)
      await using sts = clientOf(`http://${key.id}:${encodeURIComponent(key.secret)}@${url.host}`, STS)
      return textIn(await sts.query('GetCallerIdentity', []), 'Arn')
    }

    it('are those of the role that the settings name', async () => {
      const { username, password, origin } = new URL(address)
      const key = { id: username, secret: decodeURIComponent(password), token: undefined }
      const taken = await keyFrom({ endpoint: origin, key, role: { arn: role, session: 'mine' } }, {})
      assert.ok(taken.token && taken.expires && taken.expires > Date.now())
      assert.equal(await whoIs(taken), 'arn:aws:sts::123456789012:assumed-role/reader/mine')
    })

    it('are those of a web identity', async () => {
      const env = { AWS_WEB_IDENTITY_TOKEN_FILE: file('jwt', 'a.b.c'), AWS_ROLE_ARN: role, AWS_ROLE_SESSION_NAME: 'pod' }
      assert.equal(
        await whoIs(await keyFrom({ endpoint: new URL(address).origin }, env)),
        'arn:aws:sts::123456789012:assumed-role/reader/pod',
      )
    })
  })
})
