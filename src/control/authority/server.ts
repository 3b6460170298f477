import { createHash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcServer, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { readCertificateRequest } from '../../transport/identity/csr.ts'
import { SIGN_CERTIFICATE, SignCertificateRequest, SignCertificateResponse } from '../../transport/identity/sentry-messages.ts'
import { loadAuthority } from './files.ts'
import { issueLeaf, serviceNames } from './leaf.ts'
import { OwnCertificate } from './own-certificate.ts'

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
/** Bytes of one request: a key and a token. */
export const LARGEST_REQUEST = 256 * 1024
const NAME = /^[A-Za-z0-9_-]{1,64}$/
const DOMAIN = /^[a-z0-9._-]{1,255}$/

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
    const dns = namespace === options.namespace ? serviceNames(id, namespace) : []
    const chain = issueLeaf(files, uri, key, { life, dns })
    log.info(`issued a certificate for ${uri}`)
    return {
      workloadCertificate: Buffer.from(chain),
      trustChainCertificates: [Buffer.from(files.rootsPem)],
      validUntil: { seconds: Math.floor(Math.min(Date.now() + (life ?? DAY), Date.parse(files.issuer.certificate.validTo)) / 1000) },
    }
  })

  const own = new OwnCertificate(() => files, `spiffe://${options.trustDomain}/ns/${options.namespace}/dapr-sentry`)
  const server = createGrpcServer({ methods: new Map([[SIGN_CERTIFICATE, sign]]), maxMessageSize: LARGEST_REQUEST })
  const port = await server.listen({ host: options.host, port: options.port, mutual: own })
  const watcher = watch(folder, { persistent: false }, () => {
    try {
      const fresh = loadAuthority(folder)
      if (fresh.rootsPem === files.rootsPem && fresh.issuer.pem === files.issuer.pem) return
      files = fresh
      own.renew()
      log.info('the authority changed; what is issued from now on is signed by its new issuer')
    } catch (error) {
      // Between the two files of a rotation they do not fit; another event follows.
      log.debug(messageOf(error))
    }
  })
  watcher.on('error', (error) => log.warn(`changes of ${folder} are not seen any more: ${error.message}`))
  return {
    port,
    async [Symbol.asyncDispose]() {
      watcher.close()
      await server.close(1000)
      own[Symbol.dispose]()
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
