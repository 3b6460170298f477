import { constants, X509Certificate } from 'node:crypto'
import {
  type ConnectionOptions,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Identity } from './sentry.ts'
import { type SpiffeId, spiffeIdOf } from './spiffe.ts'
import { parseCertificates, type TrustAnchors } from './trust-anchors.ts'

export interface WorkloadIdentityOptions {
  anchors: TrustAnchors
  /** Fetches a new key and certificate; see `requestIdentity`. */
  request: (anchors: string, signal: AbortSignal) => Promise<Identity>
  log: Logger
  /** Milliseconds until a renewal that failed is tried again. Default 10 s, as daprd. */
  retryDelay?: number
}

/** However short a certificate lives, the authority is not asked more often than this, in milliseconds. */
const MIN_DELAY = 250
/** The clock is looked at this often, for it may be set, and timers stand still while a machine sleeps. */
const MAX_WAIT = 60_000

/**
 * The identity of this sidecar while it runs: valid → (half of its life is over) renewing → valid. A new certificate, like
 * changed trust anchors, is used for every handshake from then on; connections that stand are not cut.
 */
export class WorkloadIdentity implements Disposable {
  readonly #options: WorkloadIdentityOptions
  readonly #stop = new AbortController()
  readonly #followers = new Set<(options: TlsOptions) => void>()
  #identity: Identity
  #tls: TlsOptions
  #client: SecureContext
  #timer: NodeJS.Timeout | undefined
  /** When to renew: by the clock, and by time passed since. */
  #due: { at: number; began: number; delay: number }
  #renewing = false
  /** Certificates fetched after the first one. */
  renewals = 0
  /** Called after each change of certificate or anchors: what was connected with the old ones should come to an end. */
  onChange: (() => void) | undefined

  constructor(options: WorkloadIdentityOptions, identity: Identity) {
    this.#options = options
    this.#identity = identity
    this.#tls = tlsOf(identity, options.anchors.pem)
    this.#client = createSecureContext(this.#tls)
    this.#due = this.#plan(identity)
    options.anchors.onChange = () => this.#anchorsChanged()
    this.#wait()
  }

  get id(): SpiffeId {
    return this.#identity.id
  }

  /** PEM of the certificates that others are checked against. */
  get trustAnchors(): string {
    return this.#options.anchors.pem
  }

  /** For a listener that admits those only whose certificate leads to a trust anchor. */
  get options(): TlsOptions {
    return { ...this.#tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout: 10_000 }
  }

  /** Tells a listener of each later change of `options`, until disposed. */
  follow(apply: (options: TlsOptions) => void): Disposable {
    this.#followers.add(apply)
    return { [Symbol.dispose]: () => void this.#followers.delete(apply) }
  }

  /** Who has finished a handshake with us; undefined: a certificate that names nobody, not to be served. */
  identify(socket: TLSSocket): SpiffeId | undefined {
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
    return certificate && spiffeIdOf(certificate)
  }

  /**
   * For a connection to `host:port/ns/NAMESPACE/APP`: whoever answers must have that path in its SPIFFE id, in any trust domain,
   * for a caller does not know the other's. An address that says nothing of it is refused.
   */
  readonly dial = (address: string): ConnectionOptions => {
    const slash = address.indexOf('/')
    const expected = slash < 0 ? undefined : decodeURIComponent(address.slice(slash))
    return {
      secureContext: this.#client,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      checkServerIdentity: (_: string, peer: PeerCertificate) => {
        const found = spiffeIdOf(new X509Certificate(peer.raw))
        if (found && found.path === expected) return undefined
        return new Error(`unexpected SPIFFE ID: "${found?.uri ?? ''}", expected ${expected ?? 'an address that names an app'}`)
      },
    }
  }

  /** For connections at whose other end must be exactly this SPIFFE id: a service of the control plane. */
  dialExactly(id: string): () => ConnectionOptions {
    return () => ({
      secureContext: this.#client,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      checkServerIdentity: (_: string, peer: PeerCertificate) => {
        const found = spiffeIdOf(new X509Certificate(peer.raw))?.uri
        return found === id ? undefined : new Error(`unexpected SPIFFE ID: "${found ?? ''}", expected ${id}`)
      },
    })
  }

  [Symbol.dispose](): void {
    this.#stop.abort()
    clearTimeout(this.#timer)
    this.#options.anchors.onChange = undefined
    this.#options.anchors[Symbol.dispose]()
    this.#followers.clear()
  }

  #plan(identity: Identity): { at: number; began: number; delay: number } {
    const now = Date.now()
    const { notBefore, notAfter, id } = identity
    const log = this.#options.log
    if ((now < notBefore.getTime() || now > notAfter.getTime()) && notAfter.getTime() - notBefore.getTime() > MAX_WAIT)
      log.warn(
        `the new certificate is valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, but it is ${new Date(now).toISOString()} by this machine's clock: other sidecars will refuse it or we them; set the clock`,
      )
    const delay = renewalDelay(notBefore.getTime(), notAfter.getTime(), now)
    log.info(`identity ${id.uri} is valid until ${notAfter.toISOString()}; renewal at ${new Date(now + delay).toISOString()}`)
    return { at: now + delay, began: performance.now(), delay }
  }

  #wait(): void {
    clearTimeout(this.#timer)
    if (this.#stop.signal.aborted) return
    const left = Math.min(this.#due.at - Date.now(), this.#due.began + this.#due.delay - performance.now())
    this.#timer = setTimeout(() => void this.#look(), Math.max(0, Math.min(left, MAX_WAIT))).unref()
  }

  async #look(): Promise<void> {
    await this.#options.anchors.refresh()
    const { at, began, delay } = this.#due
    if (Date.now() >= at || performance.now() - began >= delay) await this.#renew()
    else this.#wait()
  }

  async #renew(): Promise<void> {
    const { anchors, request, log, retryDelay = 10_000 } = this.#options
    if (this.#renewing || this.#stop.signal.aborted) return
    this.#renewing = true
    try {
      const identity = await request(anchors.pem, this.#stop.signal)
      this.#use(identity, anchors.pem)
      this.renewals++
      this.#due = this.#plan(identity)
    } catch (error) {
      if (!this.#stop.signal.aborted)
        log.error(
          `the identity could not be renewed: ${messageOf(error)}; it stays valid until ${this.#identity.notAfter.toISOString()}, next try in ${retryDelay / 1000} s`,
        )
      this.#due = { at: Date.now() + retryDelay, began: performance.now(), delay: retryDelay }
    } finally {
      this.#renewing = false
      this.#wait()
    }
  }

  /** Throws, and leaves everything as it was, when OpenSSL does not take the new material. */
  #use(identity: Identity, anchors: string): void {
    const tls = tlsOf(identity, anchors)
    const client = createSecureContext(tls)
    this.#identity = identity
    this.#tls = tls
    this.#client = client
    const options = this.options
    for (const apply of this.#followers) apply(options)
    this.onChange?.()
  }

  #anchorsChanged(): void {
    const { anchors, log } = this.#options
    try {
      this.#use(this.#identity, anchors.pem)
      if (leadsTo(this.#identity.chain, anchors.pem)) return
      log.info('the certificate in use leads to none of the new trust anchors; asking for another')
      void this.#renew()
    } catch (error) {
      log.error(`the new trust anchors cannot be used: ${messageOf(error)}; those from before stay in use`)
    }
  }
}

function tlsOf(identity: Identity, anchors: string): TlsOptions {
  return {
    key: identity.key,
    cert: identity.certificate,
    ca: anchors,
    // An anchor counts as it is, self-signed or not: as Go has it, and so daprd.
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.2',
    // A resumed session would skip the look at the certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}

/**
 * Milliseconds until half of a certificate's life is over. A clock that is off, or a life too short to halve, must not make us
 * ask again and again: then half of what there is counts from now.
 */
export function renewalDelay(notBefore: number, notAfter: number, now: number): number {
  const half = (notAfter - notBefore) / 2
  if (now < notBefore || now >= notAfter) return Math.max(MIN_DELAY, half)
  const left = notBefore + half - now
  return Math.max(MIN_DELAY, left > 0 ? left : (notAfter - now) / 2)
}

function leadsTo(chain: readonly X509Certificate[], anchors: string): boolean {
  const last = chain.at(-1) as X509Certificate
  return parseCertificates(anchors).some(
    (anchor) => anchor.fingerprint256 === last.fingerprint256 || (last.checkIssued(anchor) && last.verify(anchor.publicKey)),
  )
}
