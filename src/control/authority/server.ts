import { createHash, generateKeyPairSync, type KeyObject, timingSafeEqual } from 'node:crypto'
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { TlsOptions } from 'node:tls'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcServer, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { issueCertificate, subjectOf } from '../../transport/identity/certificate.ts'
import { readCertificateRequest } from '../../transport/identity/csr.ts'
import { SIGN_CERTIFICATE, SignCertificateRequest, SignCertificateResponse } from '../../transport/identity/sentry-messages.ts'
import { ALLOWED_SKEW, type AuthorityFiles, loadAuthority } from './files.ts'

export interface AuthorityServerOptions {
  /** The authority's files; followed, so that a rotation takes effect at once. */
  folder: string
  host: string
  port: number
  /** Sidecars know the authority by `spiffe://<trustDomain>/ns/<namespace>/dapr-sentry`. */
  trustDomain: string
  namespace: string
  /** File with the token that every request has to bring; read anew each time. Undefined: whoever reaches the port is believed. */
  tokenFile?: string | undefined
  /** Life of leaves in milliseconds. Default 24 h. */
  life?: number
  log: Logger
}

export interface AuthorityServer extends AsyncDisposable {
  readonly port: number
}

const DAY = 86_400_000
const NAME = /^[A-Za-z0-9_-]{1,64}$/
const DOMAIN = /^[a-z0-9._-]{1,255}$/

/** Signs a leaf for a key: the leaf, then the issuer, as PEM. It never outlives the issuer. */
export function issueLeaf(files: AuthorityFiles, uri: string, publicKey: KeyObject, life = DAY): string {
  const { certificate, pem, privateKey, publicKey: issuerKey } = files.issuer
  const leaf = issueCertificate({
    publicKey,
    subject: '',
    issuer: { name: subjectOf(certificate), privateKey, publicKey: issuerKey },
    notBefore: new Date(Date.now() - ALLOWED_SKEW),
    notAfter: new Date(Math.min(Date.now() + life, Date.parse(certificate.validTo))),
    uri,
  })
  return leaf + pem
}

/** Serves sentry's protocol, so that our sidecars and daprd get their identities here. */
export async function startAuthorityServer(options: AuthorityServerOptions): Promise<AuthorityServer> {
  const { folder, log, life } = options
  let files = loadAuthority(folder)
  const sign = unary(SignCertificateRequest.decode, SignCertificateResponse.encode, async (request) => {
    const { id, namespace } = request
    const trustDomain = request.trustDomain || 'public'
    if (!NAME.test(id) || !NAME.test(namespace) || !DOMAIN.test(trustDomain))
      throw new GrpcStatus(
        Code.InvalidArgument,
        'app id and namespace must be 1 to 64 letters, digits, - or _, the trust domain lower case',
      )
    await mustKnowToken(options.tokenFile, request.token)
    // Who had this one could make himself the authority of everybody.
    if (id === 'dapr-sentry') throw new GrpcStatus(Code.PermissionDenied, 'no identity is issued for dapr-sentry')
    let key: KeyObject
    try {
      key = readCertificateRequest(request.certificateSigningRequest.toString())
    } catch (error) {
      throw new GrpcStatus(Code.InvalidArgument, `the certificate request is unusable: ${messageOf(error)}`)
    }
    const uri = `spiffe://${trustDomain}/ns/${namespace}/${id}`
    const chain = issueLeaf(files, uri, key, life)
    log.info(`issued a certificate for ${uri}`)
    return {
      workloadCertificate: Buffer.from(chain),
      trustChainCertificates: [Buffer.from(files.rootsPem)],
      validUntil: { seconds: Math.floor(Math.min(Date.now() + (life ?? DAY), Date.parse(files.issuer.certificate.validTo)) / 1000) },
    }
  })

  const pair = generateKeyPairSync('ed25519')
  const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const ownId = `spiffe://${options.trustDomain}/ns/${options.namespace}/dapr-sentry`
  const own = (): TlsOptions => ({ key, cert: issueLeaf(files, ownId, pair.publicKey), minVersion: 'TLSv1.2' })
  const followers = new Set<(tls: TlsOptions) => void>()
  const renew = () => {
    for (const apply of followers) apply(own())
  }
  const server = createGrpcServer({ methods: new Map([[SIGN_CERTIFICATE, sign]]), maxMessageSize: 256 * 1024 })
  const port = await server.listen({
    host: options.host,
    port: options.port,
    mutual: {
      get options() {
        return own()
      },
      follow(apply) {
        followers.add(apply)
        return { [Symbol.dispose]: () => void followers.delete(apply) }
      },
    },
  })
  const watcher = watch(folder, { persistent: false }, () => {
    try {
      const fresh = loadAuthority(folder)
      if (fresh.rootsPem === files.rootsPem && fresh.issuer.pem === files.issuer.pem) return
      files = fresh
      renew()
      log.info('the authority changed; what is issued from now on is signed by its new issuer')
    } catch (error) {
      // Between the two files of a rotation they do not fit; another event follows.
      log.debug(messageOf(error))
    }
  })
  watcher.on('error', (error) => log.warn(`changes of ${folder} are not seen any more: ${error.message}`))
  // The own certificate lives a day; a wrong clock is no reason to wait longer than this for another.
  const timer = setInterval(renew, DAY / 4).unref()
  return {
    port,
    async [Symbol.asyncDispose]() {
      watcher.close()
      clearInterval(timer)
      await server.close(1000)
    },
  }
}

async function mustKnowToken(file: string | undefined, given: string): Promise<void> {
  if (file === undefined) return
  const wanted = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new GrpcStatus(Code.Internal, `the authority cannot read its token file: ${messageOf(error)}`)
  })
  const digest = (text: string) => createHash('sha256').update(text.trim()).digest()
  if (wanted.trim() === '' || !timingSafeEqual(digest(wanted), digest(given)))
    throw new GrpcStatus(
      Code.PermissionDenied,
      'the token is not the one this authority asks for; put it into the file that DAPR_SENTRY_TOKEN_FILE names',
    )
}
