import type { AuthorityFiles } from '../authority/files.ts'
import { generateAuthority, parseAuthority } from '../authority/files.ts'
import { generateTokenKey, parseTokenKey, type TokenKey, type TokenKeyOptions } from './token-key.ts'

/** Names under which a folder or Secret keeps what an authority needs. */
export interface BundleNames {
  readonly roots: string
  readonly issuer: string
  readonly issuerKey: string
  readonly tokenKey: string
  readonly keySet: string
}

/** Texts by those names; what is not there is missing. */
export type BundleTexts = Readonly<Record<string, string | undefined>>

/** What an authority signs with. */
export interface Bundle {
  readonly authority: AuthorityFiles
  /** Undefined: no tokens are issued. */
  readonly tokens: TokenKey | undefined
}

/** Where a bundle lies. */
export interface BundleStore extends AsyncDisposable {
  read(): Promise<BundleTexts>
  /** Adds to it. Resolves with false when somebody else was faster: read again. */
  write(texts: BundleTexts): Promise<boolean>
  /** Calls back when there may be something new, until disposed. */
  follow(onChange: () => void): Disposable
}

export interface BundleOptions {
  readonly names: BundleNames
  /** The authority's own SPIFFE id, which names an issuer made here, and its trust domain, which names a root. */
  readonly id: string
  readonly trustDomain: string
  /** Undefined: no tokens are wanted. */
  readonly tokens: TokenKeyOptions | undefined
}

/** Reads a bundle, and makes and keeps what is missing of it. Rejects naming what is wrong with it. */
export async function loadBundle(store: BundleStore, options: BundleOptions): Promise<{ bundle: Bundle; made: boolean }> {
  const { names, tokens } = options
  for (let tries = 0; tries < 5; tries++) {
    const texts = await store.read()
    const fresh = missingOf(texts, options)
    if (Object.keys(fresh).length > 0 && !(await store.write(fresh))) continue
    const all = { ...texts, ...fresh }
    const text = (name: string) => all[name] ?? ''
    const authority = parse('the certificates', () => parseAuthority(text(names.roots), text(names.issuer), text(names.issuerKey)))
    const key = tokens && parse('the key for tokens', () => parseTokenKey(text(names.tokenKey), text(names.keySet), tokens))
    return { bundle: { authority, tokens: key }, made: Object.keys(fresh).length > 0 }
  }
  throw new Error('the trust bundle is being changed by others all the time; is there another authority at work?')
}

function missingOf(texts: BundleTexts, { names, id, trustDomain, tokens }: BundleOptions): Record<string, string> {
  const fresh: Record<string, string> = {}
  if ([names.roots, names.issuer, names.issuerKey].some((name) => texts[name] === undefined)) {
    const { roots, issuer, issuerKey } = generateAuthority(trustDomain, id)
    Object.assign(fresh, { [names.roots]: roots, [names.issuer]: issuer, [names.issuerKey]: issuerKey })
  }
  if (tokens && [names.tokenKey, names.keySet].some((name) => texts[name] === undefined)) {
    const { key, keySet } = generateTokenKey(tokens)
    Object.assign(fresh, { [names.tokenKey]: key, [names.keySet]: keySet })
  }
  return fresh
}

function parse<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new Error(`${what} of the trust bundle cannot be used: ${error instanceof Error ? error.message : String(error)}`)
  }
}
