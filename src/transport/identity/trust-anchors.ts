import { X509Certificate } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'

/** The certificates everything else is checked against. */
export interface TrustAnchors extends Disposable {
  /** PEM of all of them. */
  readonly pem: string
  /** Reads their source again; what cannot be read leaves the old ones in place. */
  refresh(): Promise<void>
  /** Called after each change. One listener. */
  onChange: (() => void) | undefined
}

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
/** Far more roots than a fleet ever has. */
const MAX_ANCHORS = 100

/** The certificates in a PEM text; throws what is wrong with it. */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(BLOCK) ?? []
  if (blocks.length === 0) throw new Error('it holds no PEM block CERTIFICATE')
  if (blocks.length > MAX_ANCHORS) throw new Error(`it holds ${blocks.length} certificates; at most ${MAX_ANCHORS} are read`)
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block)
    } catch (error) {
      throw new Error(`its certificate ${index + 1} cannot be read: ${messageOf(error)}`)
    }
  })
}

/** Anchors that stay as they are. Throws when they cannot be read. @param source What to name in the error. */
export function fixedTrustAnchors(pem: string, source: string): TrustAnchors {
  try {
    parseCertificates(pem)
  } catch (error) {
    throw new Error(`the trust anchors of ${source} are unusable: ${messageOf(error)}; give the PEM text of the authority's ca.crt`)
  }
  return { pem, onChange: undefined, refresh: async () => {}, [Symbol.dispose]: () => {} }
}

/** Anchors from a file that is followed: a change takes effect at once, without a restart. Rejects when it cannot be read. */
export async function openTrustAnchorsFile(path: string, log: Logger): Promise<TrustAnchors> {
  const read = async () => {
    const pem = await readFile(path, 'utf8')
    parseCertificates(pem)
    return pem
  }
  let pem = await read().catch((error: unknown) => {
    throw new Error(`the trust anchors file ${path} is unusable: ${messageOf(error)}; write the authority's ca.crt there`)
  })
  let watcher: FSWatcher | undefined
  let reading: Promise<void> | undefined
  let again = false
  let complaint = ''
  const anchors: TrustAnchors = {
    get pem() {
      return pem
    },
    onChange: undefined,
    refresh() {
      // A change during a read asks for one more; readers never pile up.
      if (reading) again = true
      reading ??= load().finally(() => {
        reading = undefined
        if (again) void anchors.refresh()
        again = false
      })
      return reading
    },
    [Symbol.dispose]: () => watcher?.close(),
  }
  const load = async () => {
    try {
      const fresh = await read()
      complaint = ''
      if (fresh === pem) return
      pem = fresh
      log.info(`trust anchors changed: ${path} now holds ${parseCertificates(fresh).length}`)
      anchors.onChange?.()
    } catch (error) {
      // A file being replaced is short or absent for a moment; the old anchors stay.
      const text = `the trust anchors in ${path} cannot be read, those from before stay in use: ${messageOf(error)}`
      if (text !== complaint) log.warn(text)
      complaint = text
    }
  }
  try {
    // The folder: a file swapped by renaming, or by a symbolic link as Kubernetes does, is another file.
    watcher = watch(dirname(path), { persistent: false }, () => void anchors.refresh())
    watcher.on('error', () => {})
  } catch (error) {
    log.warn(`changes of ${path} are seen each minute only: its folder cannot be watched: ${messageOf(error)}`)
  }
  return anchors
}
