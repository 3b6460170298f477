import { readFile } from 'node:fs/promises'
import { HttpClient } from '../../transport/http1/client.ts'
import { orAborted } from '../../waiting.ts'
import { AwsClient, type Service } from './client.ts'
import { readProfile } from './profile.ts'
import { type AwsSettings, endpointOf } from './settings.ts'
import type { AwsKey } from './sign.ts'
import { textIn, within, type XmlElement } from './xml.ts'

export const STS: Service = { name: 'STS', host: 'sts', id: 'STS', version: '2011-06-15' }

/** A key is renewed when less than this is left of it, milliseconds. */
const MARGIN = 5 * 60_000
/** Milliseconds for the machine's own services, which are near or not there. */
const NEAR = 2000
const MACHINE = 'http://169.254.169.254'
const CONTAINER = 'http://169.254.170.2'

/**
 * Where an account's keys come from, in the order of AWS's SDKs: the settings, the environment, a web identity (EKS's IRSA), the profile,
 * the container (ECS, EKS Pod Identity), the machine (EC2, IMDSv2); and from there the role of the settings. Kept until they run out.
 */
export class Keys implements AsyncDisposable {
  readonly #settings: AwsSettings
  readonly #env: NodeJS.ProcessEnv
  readonly #http = new HttpClient({ connections: 1, connectTimeout: NEAR, silenceTimeout: 5000 })
  #held: Promise<AwsKey> | undefined
  #expires = Number.POSITIVE_INFINITY

  constructor(settings: AwsSettings, env: NodeJS.ProcessEnv = process.env) {
    this.#settings = settings
    this.#env = env
  }

  /** The key to sign with now. Rejects naming the places that have none. */
  readonly current = async (signal?: AbortSignal): Promise<AwsKey> => {
    if (this.#held && Date.now() < this.#expires - MARGIN) return this.#held
    this.#expires = Number.POSITIVE_INFINITY
    const asking = this.#find()
    this.#held = asking
    asking.then(
      (key) => {
        // A key that is shorter-lived than the margin still serves for a while.
        if (this.#held === asking)
          this.#expires = key.expires === undefined ? Number.POSITIVE_INFINITY : Math.max(key.expires, Date.now() + MARGIN + 30_000)
      },
      () => {
        if (this.#held === asking) this.#held = undefined
      },
    )
    return signal ? orAborted(asking, signal) : asking
  };

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }

  async #find(): Promise<AwsKey> {
    const { role } = this.#settings
    const first = await this.#own()
    if (!role) return first
    await using sts = this.#sts(async () => first)
    return keyIn(
      await sts.query('AssumeRole', [
        ['RoleArn', role.arn],
        ['RoleSessionName', role.session],
      ]),
    )
  }

  async #own(): Promise<AwsKey> {
    const { key } = this.#settings
    const env = this.#env
    if (key) return key
    if (!env.AWS_PROFILE && env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY)
      return { id: env.AWS_ACCESS_KEY_ID, secret: env.AWS_SECRET_ACCESS_KEY, token: env.AWS_SESSION_TOKEN || undefined }
    if (!env.AWS_PROFILE && env.AWS_WEB_IDENTITY_TOKEN_FILE && env.AWS_ROLE_ARN)
      return this.#webIdentity(env.AWS_WEB_IDENTITY_TOKEN_FILE, env.AWS_ROLE_ARN)
    const profile = readProfile(env)
    if (profile.id && profile.secret) return { id: profile.id, secret: profile.secret, token: profile.token }
    if (profile.foreign)
      throw new Error(
        `no AWS key: profile ${profile.name} signs in by ${profile.foreign}, which is not supported; give accessKey and secretKey`,
      )
    const container =
      env.AWS_CONTAINER_CREDENTIALS_FULL_URI ||
      (env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI && CONTAINER + env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI)
    if (container) return this.#container(container)
    return this.#machine().catch((error: Error) => {
      throw new Error(
        `no AWS key: none in metadata (accessKey, secretKey), the environment, profile ${profile.name}, a container or this machine (${error.message})`,
        { cause: error },
      )
    })
  }

  async #webIdentity(file: string, role: string): Promise<AwsKey> {
    await using sts = this.#sts(undefined)
    const token = (await readFile(file, 'utf8')).trim()
    const session = this.#env.AWS_ROLE_SESSION_NAME || `outrider-${Date.now()}`
    const result = await sts.query('AssumeRoleWithWebIdentity', [
      ['RoleArn', role],
      ['RoleSessionName', session],
      ['WebIdentityToken', token],
    ])
    return keyIn(result)
  }

  async #container(address: string): Promise<AwsKey> {
    const file = this.#env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
    const token = file ? (await readFile(file, 'utf8')).trim() : this.#env.AWS_CONTAINER_AUTHORIZATION_TOKEN
    return keyOf(await this.#near('GET', address, token ? { authorization: token } : {}))
  }

  async #machine(): Promise<AwsKey> {
    if (this.#env.AWS_EC2_METADATA_DISABLED?.toLowerCase() === 'true') throw new Error('AWS_EC2_METADATA_DISABLED is set')
    const base = (this.#env.AWS_EC2_METADATA_SERVICE_ENDPOINT || MACHINE).replace(/\/+$/, '')
    const token = await this.#near('PUT', `${base}/latest/api/token`, { 'x-aws-ec2-metadata-token-ttl-seconds': '21600' })
    const headers = { 'x-aws-ec2-metadata-token': token }
    const place = `${base}/latest/meta-data/iam/security-credentials/`
    const role = (await this.#near('GET', place, headers)).trim().split('\n')[0] ?? ''
    return keyOf(await this.#near('GET', place + role, headers))
  }

  async #near(method: string, address: string, headers: Record<string, string>): Promise<string> {
    const url = new URL(address)
    const { status, body } = await this.#http.request({
      method,
      url,
      headers,
      signal: AbortSignal.timeout(10_000),
      limit: 1 << 20,
      tooLarge: () => new Error(`${url.host} answered with more than 1 MiB`),
    })
    if (status !== 200) throw new Error(`${url.host} answered ${status} to ${method} ${url.pathname}`)
    return body.toString()
  }

  #sts(key: (() => Promise<AwsKey>) | undefined): AwsClient {
    // A component's endpoint serves its other services, too: emulators do.
    return new AwsClient({
      service: STS,
      region: this.#settings.region,
      endpoint: endpointOf(this.#settings, STS.host, STS.id),
      key,
      connections: 1,
    })
  }
}

function keyIn(result: XmlElement | undefined): AwsKey {
  const found = within(result, 'Credentials')
  const [id, secret, token, expires] = ['AccessKeyId', 'SecretAccessKey', 'SessionToken', 'Expiration'].map((name) => textIn(found, name))
  if (!id || !secret) throw new Error('STS answered without a key')
  return { id, secret, token, expires: timeOf(expires) }
}

function keyOf(text: string): AwsKey {
  let found: Record<string, unknown>
  try {
    found = JSON.parse(text) as Record<string, unknown>
  } catch {
    // The parser's message quotes the text, which holds a key.
    throw new Error("the key service's answer is not JSON")
  }
  const { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: expires } = found
  if (typeof id !== 'string' || typeof secret !== 'string') throw new Error('the key service answered without a key')
  return { id, secret, token: typeof token === 'string' ? token : undefined, expires: timeOf(expires) }
}

function timeOf(text: unknown): number | undefined {
  const time = Date.parse(String(text ?? ''))
  return Number.isNaN(time) ? undefined : time
}
