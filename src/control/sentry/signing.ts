import type { KeyObject } from 'node:crypto'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { type GrpcMethod, unary } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { readCertificateRequest } from '../../transport/identity/csr.ts'
import { SignCertificateRequest, SignCertificateResponse, TokenValidator } from '../../transport/identity/sentry-messages.ts'
import { issueLeaf, serviceNames } from '../authority/leaf.ts'
import type { Bundle } from './bundle.ts'
import type { SentryMetrics } from './metrics.ts'
import { issueToken } from './token-key.ts'
import type { SigningRequest, Validator } from './validator.ts'

export interface SigningOptions {
  bundle(): Bundle
  validators: ReadonlyMap<number, Validator>
  /** Which one is asked when a request names none; undefined: it has to. */
  fallback: number | undefined
  /** Namespace of the control plane. */
  namespace: string
  clusterDomain: string
  /** Milliseconds. */
  leafLife: number
  skew: number
  tokens: { issuer: string; life: number }
  metrics: SentryMetrics
  log: Logger
}

/** The call `SignCertificate` of Dapr's sentry. */
export function signCertificate(options: SigningOptions): GrpcMethod {
  const { metrics } = options
  return unary(SignCertificateRequest.decode, SignCertificateResponse.encode, async (request, call) => {
    metrics.received()
    try {
      const response = await sign(request, options, call.signal)
      metrics.succeeded()
      return response
    } catch (error) {
      metrics.failed()
      options.log.debug(`no certificate for ${request.namespace}/${request.id}: ${messageOf(error)}`)
      throw error
    }
  })
}

async function sign(request: SigningRequest, options: SigningOptions, signal: AbortSignal) {
  const { id, namespace } = request
  const wanted = request.tokenValidator === TokenValidator.UNKNOWN ? options.fallback : request.tokenValidator
  if (wanted === undefined) throw new GrpcStatus(Code.InvalidArgument, 'a validator name must be specified in this environment')
  const validator = options.validators.get(wanted)
  if (!validator) throw new GrpcStatus(Code.InvalidArgument, 'the requested validator is not enabled')
  const { trustDomain, beside = [] } = await validator.validate(request, signal)
  let key: KeyObject
  try {
    key = readCertificateRequest(request.certificateSigningRequest.toString())
  } catch (error) {
    throw new GrpcStatus(Code.InvalidArgument, `invalid certificate signing request: ${messageOf(error)}`)
  }
  const { authority, tokens } = options.bundle()
  mustBeValid(authority)
  const { leafLife, skew } = options
  const uri = `spiffe://${trustDomain}/ns/${namespace}/${id}`
  const named = (program: string) => serviceNames(program, namespace, options.clusterDomain)
  const dns = namespace === options.namespace ? [id, ...beside].flatMap(named) : []
  const chain = issueLeaf(authority, uri, key, { life: leafLife, skew, dns })
  const audiences = [...new Set([trustDomain, ...request.jwtAudiences])]
  const token = (of: readonly string[]) => tokens && issueToken(tokens, { subject: uri, audiences: of, skew, ...options.tokens })
  options.log.debug(`issued a certificate for ${uri}`)
  return {
    workloadCertificate: Buffer.from(chain),
    trustChainCertificates: [Buffer.from(authority.rootsPem)],
    validUntil: { seconds: Math.floor(Math.min(Date.now() + leafLife, Date.parse(authority.issuer.certificate.validTo)) / 1000) },
    jwt: tokens && { value: token(audiences) },
    perAudienceJwts: tokens && Object.fromEntries(audiences.map((audience) => [audience, { value: token([audience]) }])),
  }
}

/** What a certificate that has ended signs nobody believes, so whoever asks is told instead. */
export function mustBeValid({ issuer }: Bundle['authority']): void {
  const end = Date.parse(issuer.certificate.validTo)
  if (Date.now() < end) return
  const text = `the issuer's certificate ended at ${new Date(end).toISOString()}; put a new one into the trust bundle`
  throw new GrpcStatus(Code.FailedPrecondition, text)
}
