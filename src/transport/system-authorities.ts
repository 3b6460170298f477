import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import tls, { getCACertificates, type SecureContextOptions, setDefaultCACertificates } from 'node:tls'

/** idle (not asked for) → waiting (for TLS) → loaded. */
let state: 'idle' | 'waiting' | 'loaded' = 'idle'

/**
 * From here on TLS without authorities of its own trusts those of the system besides the ones that Node brings (and NODE_EXTRA_CA_CERTS):
 * SSL_CERT_FILE and SSL_CERT_DIR, or where the system has them, as Go's programs do. They are read when TLS is first spoken, by our
 * clients or a library's: read at every start, as `--use-system-ca` does, they are 3 MiB that most sidecars never look at.
 */
export function trustSystemAuthorities(): void {
  if (state !== 'idle') return
  state = 'waiting'
  const make = tls.createSecureContext
  // All clients and servers of Node ask this property, https and libraries too.
  tls.createSecureContext = (options?: SecureContextOptions) => {
    if (options?.ca === undefined) load()
    return make(options)
  }
}

/** PEMs of all that is trusted by default. */
export function trustedAuthorities(): string[] {
  load()
  return getCACertificates('default')
}

function load(): void {
  if (state !== 'waiting') return
  state = 'loaded'
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...systemAuthorities()])])
}

/** Node takes SSL_CERT_DIR for one directory; OpenSSL and Go take it for a list. */
function systemAuthorities(): string[] {
  const given = process.env.SSL_CERT_DIR
  const [first = '', ...others] = given?.split(delimiter) ?? []
  if (others.length === 0) return getCACertificates('system')
  try {
    process.env.SSL_CERT_DIR = first
    return [...getCACertificates('system'), ...others.flatMap(authoritiesIn)]
  } finally {
    process.env.SSL_CERT_DIR = given
  }
}

/** What of a directory is no certificate is passed over, as Go does. */
function authoritiesIn(directory: string): string[] {
  const found: string[] = []
  for (const name of entriesOf(directory))
    try {
      const text = readFileSync(join(directory, name), 'latin1')
      for (const [pem] of text.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g))
        found.push(new X509Certificate(pem).toString())
    } catch {}
  return found
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
