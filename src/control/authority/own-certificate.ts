import { generateKeyPairSync } from 'node:crypto'
import type { TlsOptions } from 'node:tls'
import type { MutualTls } from '../../transport/grpc/server.ts'
import type { AuthorityFiles } from './files.ts'
import { issueLeaf } from './leaf.ts'

/** The certificate lives a day; a wrong clock is no reason to wait longer than this for another. */
const EVERY = 6 * 3_600_000

/** What an authority shows its callers: a leaf that it issues to itself, anew every six hours and whenever it is told to. */
export class OwnCertificate implements MutualTls, Disposable {
  readonly #files: () => AuthorityFiles
  readonly #uri: string
  readonly #pair = generateKeyPairSync('ed25519')
  readonly #followers = new Set<(tls: TlsOptions) => void>()
  readonly #timer: NodeJS.Timeout

  constructor(files: () => AuthorityFiles, uri: string) {
    this.#files = files
    this.#uri = uri
    this.#timer = setInterval(() => this.renew(), EVERY).unref()
  }

  get options(): TlsOptions {
    const key = this.#pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    return { key, cert: issueLeaf(this.#files(), this.#uri, this.#pair.publicKey), minVersion: 'TLSv1.2' }
  }

  follow(apply: (tls: TlsOptions) => void): Disposable {
    this.#followers.add(apply)
    return { [Symbol.dispose]: () => void this.#followers.delete(apply) }
  }

  renew(): void {
    for (const apply of this.#followers) apply(this.options)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#followers.clear()
  }
}
