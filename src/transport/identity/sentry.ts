import { generateKeyPair, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { PeerCertificate } from 'node:tls'
import { promisify } from 'node:util'
import { Code, messageOf } from '../../errors.ts'
import { createGrpcClient } from '../grpc/client.ts'
import { describeStatus, GrpcStatus } from '../grpc/status.ts'
import { certificateRequest } from './csr.ts'
import { isDistrust } from './distrust.ts'
import { SIGN_CERTIFICATE, SignCertificateRequest, SignCertificateResponse, TokenValidator } from './sentry-messages.ts'
import { type SpiffeId, spiffeIdOf } from './spiffe.ts'
import { parseCertificates } from './trust-anchors.ts'

/** Whom to ask for a certificate, and for whom. */
export interface AuthorityOptions {
  /** host:port of sentry. */
  address: string
  /** The SPIFFE id its certificate has to carry. */
  authorityId: string
  appId: string
  namespace: string
  /** File with the token that sentry asks for; read anew each time, for tokens are replaced. */
  tokenFile?: string | undefined
  /** How it is to be checked, by its number in `TokenValidator`. Default JWKS. */
  tokenValidator?: number | undefined
  /** Only what is of the control plane asks for one; else the authority decides. */
  trustDomain?: string | undefined
  /** Default ed25519. Webhooks take rsa: API servers of some clouds refuse the other. */
  keyAlgorithm?: 'ed25519' | 'rsa' | undefined
  /** Milliseconds that one try may take. Default 3000, as daprd. */
  timeout?: number
}

/** A private key and what an authority says of it. */
export interface Identity {
  readonly id: SpiffeId
  /** The leaf, then the certificates that lead towards a trust anchor. */
  readonly chain: readonly X509Certificate[]
  /** The same as PEM. */
  readonly certificate: string
  /** PKCS #8 PEM. Never leaves this process. */
  readonly key: string
  readonly notBefore: Date
  readonly notAfter: Date
}

/** An authority that answered, or that is not the one we trust; asking it again brings the same. */
export class AuthorityError extends Error {
  override readonly name = 'AuthorityError'
}

/**
 * Makes a key and has it certified, over TLS at whose other end must be `authorityId`. Throws AuthorityError when asking again
 * would not help, GrpcStatus when the authority cannot be reached or failed itself.
 */
export async function requestIdentity(options: AuthorityOptions, anchors: string, signal?: AbortSignal): Promise<Identity> {
  const { address, appId, namespace } = options
  const token = await readToken(options.tokenFile)
  const pair = await keyPair(options.keyAlgorithm)
  const request = SignCertificateRequest.encode({
    id: appId,
    namespace,
    token,
    trustDomain: options.trustDomain ?? '',
    tokenValidator: token === '' ? TokenValidator.UNKNOWN : (options.tokenValidator ?? TokenValidator.JWKS),
    certificateSigningRequest: Buffer.from(certificateRequest(pair)),
  })
  const timeout = options.timeout ?? 3000
  await using client = createGrpcClient({
    connectTimeout: timeout,
    idleTimeout: 0,
    tls: {
      ca: anchors,
      allowPartialTrustChain: true,
      minVersion: 'TLSv1.2',
      checkServerIdentity: (_: string, peer: PeerCertificate) => mustBe(options.authorityId, new X509Certificate(peer.raw)),
    },
  })
  const reply = await client
    .unary(address, SIGN_CERTIFICATE, request, { timeout, ...(signal ? { signal } : {}) })
    .catch((error: unknown) => {
      throw judge(error, options)
    })
  return identityFrom(SignCertificateResponse.decode(reply).workloadCertificate.toString(), pair.privateKey, `the authority at ${address}`)
}

const generate = promisify(generateKeyPair)

/** A new key of an identity. */
export function keyPair(algorithm: AuthorityOptions['keyAlgorithm'] = 'ed25519'): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  return algorithm === 'rsa' ? generate('rsa', { modulusLength: 2048 }) : generate('ed25519', {})
}

function mustBe(expected: string, certificate: X509Certificate): Error | undefined {
  const found = spiffeIdOf(certificate)?.uri
  if (found === expected) return undefined
  return new AuthorityError(`its certificate names ${found ?? 'no SPIFFE id'}, expected ${expected}`)
}

async function readToken(file: string | undefined): Promise<string> {
  if (file === undefined) return ''
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new AuthorityError(`the sentry token file ${file} cannot be read: ${messageOf(error)}; correct DAPR_SENTRY_TOKEN_FILE`)
  })
  if (text === '') throw new AuthorityError(`the sentry token file ${file} is empty; write the token there or unset DAPR_SENTRY_TOKEN_FILE`)
  return text
}

function judge(error: unknown, { address, authorityId }: AuthorityOptions): unknown {
  if (!(error instanceof GrpcStatus)) return error
  const cause = error.cause as (Error & { code?: string }) | undefined
  if (cause instanceof AuthorityError)
    return new AuthorityError(
      `the authority at ${address} is not the one expected: ${cause.message}; check --sentry-address, --control-plane-trust-domain and --control-plane-namespace`,
      { cause },
    )
  if (cause?.code && isDistrust(cause)) {
    const clock = /NOT_YET_VALID|EXPIRED/.test(cause.code)
      ? `; if it is in order, this machine's clock (${new Date().toISOString()}) is wrong`
      : ''
    return new AuthorityError(
      `the authority at ${address} (${authorityId}) is not trusted: ${cause.message}; the trust anchors (DAPR_TRUST_ANCHORS or --trust-anchors-file) must hold its ca.crt${clock}`,
      { cause },
    )
  }
  if (error.code === Code.InvalidArgument || error.code === Code.PermissionDenied || error.code === Code.Unimplemented)
    return new AuthorityError(
      `the authority at ${address} refused to sign: ${describeStatus(error)}; it may want a token (DAPR_SENTRY_TOKEN_FILE) or another app id`,
      { cause: error },
    )
  return error
}

/**
 * An identity of the PEM of a leaf and what leads to its root. Throws AuthorityError when it is none, or of another key.
 * @param source The authority, for errors.
 */
export function identityFrom(certificate: string, key: KeyObject, source: string): Identity {
  let chain: X509Certificate[]
  try {
    chain = parseCertificates(certificate)
  } catch (error) {
    throw new AuthorityError(`the certificate from ${source} is unusable: ${messageOf(error)}`)
  }
  const leaf = chain[0] as X509Certificate
  const id = spiffeIdOf(leaf)
  if (!id) throw new AuthorityError(`the certificate from ${source} names no SPIFFE id of the form …/ns/NAMESPACE/APP`)
  if (!leaf.checkPrivateKey(key)) throw new AuthorityError(`the certificate from ${source} is for another key`)
  return {
    id,
    chain,
    certificate,
    key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    notBefore: new Date(leaf.validFrom),
    notAfter: new Date(leaf.validTo),
  }
}
