import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, type X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../../errors.ts'
import { issueCertificate } from '../../transport/identity/certificate.ts'
import { signatureKind } from '../../transport/identity/signature.ts'
import { parseCertificates } from '../../transport/identity/trust-anchors.ts'

/**
 * An authority on disk, with the file names of Dapr's sentry, which can take the folder over: `ca.crt` (all roots that are trusted,
 * the newest first), `issuer.crt` and `issuer.key` (what signs); and `ca.key`, the newest root's key, which sentry never needs.
 */
export interface AuthorityFiles {
  readonly roots: readonly X509Certificate[]
  /** PEM of all roots. */
  readonly rootsPem: string
  readonly issuer: {
    readonly certificate: X509Certificate
    readonly pem: string
    readonly privateKey: KeyObject
    readonly publicKey: KeyObject
  }
}

const YEAR = 365 * 86_400_000
/** Certificates begin to count this long before they are made, for clocks that are behind. */
export const ALLOWED_SKEW = 15 * 60_000
const ORGANISATION = 'outrider'

/** Something about an authority's folder that its owner has to settle. */
export class AuthorityFileError extends Error {
  override readonly name = 'AuthorityFileError'
}

/** Makes an authority in an empty folder. Throws when there is one already. */
export function initAuthority(folder: string): AuthorityFiles {
  if (existsSync(join(folder, 'ca.crt')) || existsSync(join(folder, 'issuer.key')))
    throw new AuthorityFileError(`there is an authority in ${folder} already; use it, rotate it, or name another folder with --dir`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const root = makeRoot()
  write(folder, 'ca.key', privatePem(root.privateKey))
  write(folder, 'ca.crt', root.pem)
  writeIssuer(folder, root.privateKey)
  return loadAuthority(folder)
}

/** Reads an authority. Throws AuthorityFileError saying what is missing or does not fit. */
export function loadAuthority(folder: string): AuthorityFiles {
  try {
    const text = (name: string) => readFileSync(join(folder, name), 'utf8')
    return parseAuthority(text('ca.crt'), text('issuer.crt'), text('issuer.key'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new AuthorityFileError(`there is no authority in ${folder}: ${messageOf(error)}; make one with outrider identity init`)
    throw new AuthorityFileError(`the authority in ${folder} is unusable: ${messageOf(error)}`)
  }
}

/**
 * An authority from its PEM texts: trusted roots; the issuer, followed by those between it and a root; the issuer's key. Throws
 * what does not fit.
 */
export function parseAuthority(rootsText: string, issuerText: string, keyText: string): AuthorityFiles {
  const privateKey = createPrivateKey(keyText)
  signatureKind(privateKey)
  const roots = parseCertificates(rootsText)
  const chain = parseCertificates(issuerText)
  const [certificate] = chain as [X509Certificate]
  // A root at the end is no part of what is handed out.
  if (chain.length > 1 && isIssuedBy(chain.at(-1) as X509Certificate, chain.at(-1) as X509Certificate)) chain.pop()
  if (!certificate.checkPrivateKey(privateKey)) throw new Error('issuer.key does not belong to issuer.crt')
  if (!certificate.ca) throw new Error('issuer.crt may not sign certificates')
  for (const [index, each] of chain.entries()) {
    const above = chain[index + 1]
    if (above ? !isIssuedBy(each, above) : !roots.some((root) => isIssuedBy(each, root)))
      throw new Error(above ? 'issuer.crt is no chain' : 'issuer.crt is signed by no root of ca.crt')
  }
  // Comments between the blocks are not handed out.
  const text = (list: readonly X509Certificate[]) => list.map((each) => each.toString()).join('')
  return { roots, rootsPem: text(roots), issuer: { certificate, pem: text(chain), privateKey, publicKey: createPublicKey(privateKey) } }
}

/** PEM texts of a new root, and of an issuer below it. */
export function generateAuthority(rootName: string, issuerName: string): { roots: string; issuer: string; issuerKey: string } {
  const root = makeRoot(rootName)
  const { pem, key } = makeIssuer(root, rootName, issuerName)
  return { roots: root.pem, issuer: pem, issuerKey: key }
}

/** A new issuer, signed by the newest root. */
export function rotateIssuer(folder: string): AuthorityFiles {
  loadAuthority(folder)
  writeIssuer(folder, readRootKey(folder))
  return loadAuthority(folder)
}

/** One more root, trusted beside those from before; the issuer stays, until everybody has the new `ca.crt`. */
export function addRoot(folder: string): AuthorityFiles {
  const { rootsPem } = loadAuthority(folder)
  const root = makeRoot()
  write(folder, 'ca.crt', root.pem + rootsPem)
  write(folder, 'ca.key', privatePem(root.privateKey))
  return loadAuthority(folder)
}

/** Only the newest root stays trusted. Throws while the issuer hangs on an older one. */
export function retireRoots(folder: string): AuthorityFiles {
  const { roots, issuer } = loadAuthority(folder)
  const [newest] = roots as [X509Certificate]
  if (!isIssuedBy(issuer.certificate, newest))
    throw new AuthorityFileError(
      'the issuer is signed by a root that would go; run outrider identity rotate first, and wait until all leaves are renewed',
    )
  write(folder, 'ca.crt', newest.toString())
  return loadAuthority(folder)
}

function isIssuedBy(certificate: X509Certificate, root: X509Certificate): boolean {
  return certificate.checkIssued(root) && certificate.verify(root.publicKey)
}

function makeRoot(name = ORGANISATION) {
  const pair = generateKeyPairSync('ed25519')
  const issuer = { name, ...pair }
  return { ...pair, pem: issueCertificate({ ...span(), publicKey: pair.publicKey, subject: name, issuer, authority: true }) }
}

function makeIssuer(root: { privateKey: KeyObject; publicKey: KeyObject }, rootName: string, name: string): { pem: string; key: string } {
  const pair = generateKeyPairSync('ed25519')
  const issuer = { ...root, name: rootName }
  const pem = issueCertificate({ ...span(), publicKey: pair.publicKey, subject: name, issuer, authority: true })
  return { pem, key: privatePem(pair.privateKey) }
}

function writeIssuer(folder: string, rootKey: KeyObject): void {
  const root = { privateKey: rootKey, publicKey: createPublicKey(rootKey) }
  const { pem, key } = makeIssuer(root, ORGANISATION, `${ORGANISATION} issuer`)
  write(folder, 'issuer.key', key)
  write(folder, 'issuer.crt', pem)
}

function readRootKey(folder: string): KeyObject {
  try {
    return createPrivateKey(readFileSync(join(folder, 'ca.key')))
  } catch (error) {
    throw new AuthorityFileError(
      `the root key ${join(folder, 'ca.key')} cannot be read: ${messageOf(error)}; without it only a new root helps: outrider identity rotate --root`,
    )
  }
}

function span() {
  return { notBefore: new Date(Date.now() - ALLOWED_SKEW), notAfter: new Date(Date.now() + YEAR) }
}

function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string
}

/** Whole or not at all, and for the owner only. */
export function write(folder: string, name: string, text: string): void {
  const path = join(folder, name)
  writeFileSync(`${path}.new`, text, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}
