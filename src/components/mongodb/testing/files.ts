import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file with the text, gone with its folder when it is disposed of. */
export function scratchFile(text: string): Disposable & { path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-mongodb-'))
  const path = join(folder, 'file.pem')
  writeFileSync(path, text)
  return { path, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
}
