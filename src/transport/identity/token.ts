import { existsSync } from 'node:fs'
import { TokenValidator } from './sentry-messages.ts'

/** The token by which sentry tells who asks, and how it has to check it. */
export interface TokenSource {
  readonly file: string
  /** A number of `TokenValidator`. */
  readonly validator: number
}

const PROJECTED = '/var/run/secrets/dapr.io/sentrytoken/token'
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/token'

/**
 * Where the token lies: the file that DAPR_SENTRY_TOKEN_FILE names, the one that the injector mounts, the one of the pod's service
 * account; undefined: none of them. As daprd looks for it.
 */
export function findToken(named: string | undefined, mode: 'kubernetes' | 'standalone'): TokenSource | undefined {
  if (named !== undefined && named !== '')
    return { file: named, validator: mode === 'kubernetes' ? TokenValidator.KUBERNETES : TokenValidator.JWKS }
  const file = [PROJECTED, SERVICE_ACCOUNT].find((path) => existsSync(path))
  return file === undefined ? undefined : { file, validator: TokenValidator.KUBERNETES }
}
