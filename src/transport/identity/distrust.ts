/** OpenSSL's words for a chain that is not to be trusted, as node names them. */
const DISTRUST = /^(UNABLE_TO_|CERT_|SELF_SIGNED|DEPTH_ZERO|INVALID_CA|PATH_LENGTH|INVALID_PURPOSE|ERR_TLS_CERT)/

/** Why a server's certificate was not taken, in Go's words before OpenSSL's; undefined for any other error. */
export function distrust(error: unknown): string | undefined {
  if (!(error instanceof Error) || !isDistrust(error)) return undefined
  // Node ends some of them with advice on how to run Node.
  return `tls: failed to verify certificate: ${error.message.replace(/; if the root CA .*$/, '')}`
}

/** Whether the error says that the other side's certificate is not trusted. */
export function isDistrust(error: Error & { code?: string }): boolean {
  return typeof error.code === 'string' && DISTRUST.test(error.code)
}
