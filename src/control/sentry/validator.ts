import { Code } from '../../errors.ts'
import type { MessageOf } from '../../transport/grpc/message.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { SignCertificateRequest } from '../../transport/identity/sentry-messages.ts'

export type SigningRequest = MessageOf<typeof SignCertificateRequest>

/** As whom somebody is believed. */
export interface Believed {
  readonly trustDomain: string
  /** Programs of the control plane that run in the same process, e.g. `dapr-injector`: API servers call them by their names too. */
  readonly beside?: readonly string[]
}

/** Tells whether somebody is who he says. */
export interface Validator extends AsyncDisposable {
  /** Rejects with why he is not believed, which he is told. */
  validate(request: SigningRequest, signal: AbortSignal): Promise<Believed>
}

const APP_ID = /^[A-Za-z0-9_-]+$/
const NAMESPACE = /^[A-Za-z0-9._-]{1,253}$/
const DOMAIN = /^[a-z0-9._-]{1,255}$/

/** What every request has to have, whoever vouches for it. Gives the trust domain that it asks for; throws PermissionDenied. */
export function checkRequest({ id, namespace, certificateSigningRequest, trustDomain }: SigningRequest): string {
  const wrong: string[] = []
  if (id === '') wrong.push('parameter app-id cannot be empty')
  else if (!APP_ID.test(id) && !id.includes(':')) wrong.push("parameter app-id may only have letters, digits, '-' and '_'")
  if (id.length > 64) wrong.push('app ID must be 64 characters or less')
  if (certificateSigningRequest.length === 0) wrong.push('CSR is required')
  if (namespace === '') wrong.push('namespace is required')
  else if (!NAMESPACE.test(namespace)) wrong.push('namespace is no name of a namespace')
  if (!DOMAIN.test(trustDomain || 'public'))
    wrong.push('trust domain may only have lower case letters, digits, dots, dashes and underscores')
  if (wrong.length > 0) throw denied(`invalid request: ${wrong.join('\n')}`)
  return trustDomain || 'public'
}

export function denied(message: string): GrpcStatus {
  return new GrpcStatus(Code.PermissionDenied, message)
}

/** Believes everybody: for a machine of one's own. */
export function insecureValidator(): Validator {
  return {
    async validate(request) {
      const domain = checkRequest(request)
      if (!APP_ID.test(request.id)) throw denied('invalid request: the app id is no name of an app')
      // Who had this one could make himself the authority of everybody.
      if (request.id === 'dapr-sentry') throw denied('no identity is issued for dapr-sentry')
      return { trustDomain: domain }
    },
    async [Symbol.asyncDispose]() {},
  }
}
