import type { TextMatch } from './match.ts'

/** A text as it stands, or the file it is in. */
export type TextSource = { text: string } | { file: string } | { env: string }

export interface CertificateSource {
  chain: TextSource
  key: TextSource
  password?: TextSource
}

export interface TlsVersions {
  min: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'
  max: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'
}

/** A subject alternative name, of any kind unless it says which. */
export interface NameMatch extends TextMatch {
  kind?: 'DNS' | 'URI' | 'IP Address' | 'email'
}

/** What the other side's certificate must be. */
export interface Validation {
  ca: TextSource | undefined
  /** The system's authorities are believed. */
  systemCa: boolean
  /** One of them is among its subject alternative names; none: any name. */
  names: readonly NameMatch[]
  /** SHA-256 of the certificate in hexadecimal; one of them. */
  hashes: readonly string[]
  /** A certificate of an unknown authority is taken all the same. */
  acceptUntrusted: boolean
}

/** TLS as a client speaks it. */
export interface ClientTls {
  certificate: CertificateSource | undefined
  /** Name to ask for; `auto`: of the Host header. */
  sni: string
  autoSni: boolean
  /** The name that was asked for must be in the certificate. */
  checkName: boolean
  validation: Validation | undefined
  alpn: readonly string[]
  versions: TlsVersions
  ciphers: readonly string[]
}

export const DEFAULT_VERSIONS: TlsVersions = { min: 'TLSv1.2', max: 'TLSv1.3' }
