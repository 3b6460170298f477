import { generateKeyPairSync } from 'node:crypto'
import { issueCertificate } from '../../src/transport/identity/certificate.ts'

export interface TestCertificate {
  /** PEMs. */
  cert: string
  key: string
}

export interface TestAuthority {
  /** PEM of its own certificate. */
  ca: string
  /** A certificate for a DNS name, of the hours around now; `hours` moves the end of it. */
  issue(dns: string, hours?: number): TestCertificate
}

const HOUR = 3_600_000

/** An authority of its own, for servers and clients of a test. */
export function testAuthority(): TestAuthority {
  const keys = generateKeyPairSync('ed25519')
  const issuer = { name: 'test authority', ...keys }
  const span = (hours: number) => ({ notBefore: new Date(Date.now() - 48 * HOUR), notAfter: new Date(Date.now() + hours * HOUR) })
  return {
    ca: issueCertificate({ ...span(1), publicKey: keys.publicKey, subject: issuer.name, issuer, authority: true }),
    issue(dns, hours = 1) {
      const pair = generateKeyPairSync('ed25519')
      const cert = issueCertificate({ ...span(hours), publicKey: pair.publicKey, subject: dns, dns, issuer })
      return { cert, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
    },
  }
}
