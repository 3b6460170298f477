/** How a driver's metadata says what TLS needs, for advice. */
export interface TlsFields {
  /** Where the server is, e.g. `redisHost`. */
  address: string
  /** What turns TLS on, e.g. `enableTLS`. */
  on: string
  /** Where its authority's certificate goes; undefined: only among those that the system trusts. */
  authority?: string
  /** What we show the server, e.g. `clientCert and clientKey`. */
  client?: string
}

export interface TlsAdvice {
  /** What is wrong. */
  reason: string
  /** What to do about it. */
  next: string
}

const UNTRUSTED =
  /unable to verify the first certificate|self[- ]signed certificate|unable to get (local )?issuer|certificate signature failure/i
const NAMES = /certificate's altnames: (?:(?:Host|IP): (\S+?)\.? is not (?:in the cert's altnames|in the cert's list|cert's CN): ([^;]*))?/
const CLEAR = /wrong version number|packet length too long|does not support (SSL|secure|'tls')|not support SSL/i
const ALERT =
  /alert (certificate required|bad certificate|unknown ca|certificate unknown|certificate expired|certificate revoked|unsupported certificate|access denied)/i

/** What an error of a TLS handshake means, as Node and OpenSSL word it; undefined for any other error. */
export function tlsAdvice(thrown: unknown, { address, on, authority, client }: TlsFields): TlsAdvice | undefined {
  const text = wordsOf(thrown)
  const alert = ALERT.exec(text)?.[1]
  if (alert) {
    const next = client ? `correct the metadata fields ${client}, or what the server trusts` : 'correct what the server asks of clients'
    return { reason: `the server refuses our client certificate: ${alert}`, next }
  }
  if (/certificate has expired/i.test(text)) return { reason: "the server's certificate has expired", next: 'renew it at the server' }
  if (/certificate is not yet valid/i.test(text))
    return { reason: "the server's certificate is not valid yet", next: 'set the clocks of both machines right' }
  if (UNTRUSTED.test(text)) {
    const next = authority
      ? `put the authority's certificate into the metadata field ${authority}`
      : "add the authority's certificate to the system's, or name its PEM file in the sidecar's environment variable SSL_CERT_FILE"
    return { reason: "the server's certificate is not signed by an authority that is trusted", next }
  }
  const names = NAMES.exec(text)
  if (names) {
    const held = names[1]
      ? `for ${names[2]?.replace(/DNS:|IP Address:/g, '').trim() || 'no name'} and not for ${names[1]}`
      : 'for another name'
    return {
      reason: `the server's certificate is ${held}`,
      next: `write the certificate's name into the metadata field ${address}, or give the server a certificate for this one`,
    }
  }
  if (CLEAR.test(text)) return { reason: 'the server does not speak TLS on this port', next: `correct the port in ${address}, or ${on}` }
  if (/before secure TLS connection was established/i.test(text))
    return {
      reason: 'the server closed the connection before TLS began',
      next: `start the server; if it does not speak TLS on this port correct the port in ${address}, or ${on}`,
    }
  return undefined
}

function wordsOf(thrown: unknown): string {
  const words: string[] = []
  for (let error: unknown = thrown; error instanceof Error; error = error.cause) {
    words.push(error.message)
    if (error instanceof AggregateError) words.push(...error.errors.map((inner) => wordsOf(inner)))
  }
  return words.join('; ')
}
