import { randomBytes } from 'node:crypto'
import {
  chownSync,
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

export interface Ownership {
  uid: number | undefined
  gid: number | undefined
}

/**
 * Puts a secret in place: written beside it, closed to others from its first byte on, on the disk before it takes the name. True: the
 * file says something else than before. Throws an Error that names the path and never what is in it.
 */
export function writeSecret(path: string, text: string, mode: number, owner: Ownership): boolean {
  makeFolder(dirname(path), owner)
  const before = statSync(path, { throwIfNoEntry: false })
  const same = before?.isFile() && before.size === Buffer.byteLength(text) && readFileSync(path, 'utf8') === text
  const right =
    before && (before.mode & 0o7777) === mode && before.uid === (owner.uid ?? before.uid) && before.gid === (owner.gid ?? before.gid)
  if (same && right) return false
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`
  const file = openSync(beside, 'wx', 0o600)
  try {
    writeSync(file, text)
    if (owner.uid !== undefined || owner.gid !== undefined)
      fchownSync(file, owner.uid ?? process.getuid?.() ?? -1, owner.gid ?? process.getgid?.() ?? -1)
    fchmodSync(file, mode)
    fsyncSync(file)
    closeSync(file)
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
  return !same
}

/** Made for the owner alone; one in which everybody may write is refused: what stands there could be replaced. */
function makeFolder(folder: string, owner: Ownership): void {
  const made = mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (made !== undefined) {
    if (owner.uid !== undefined || owner.gid !== undefined)
      chownSync(folder, owner.uid ?? process.getuid?.() ?? -1, owner.gid ?? process.getgid?.() ?? -1)
    return
  }
  const { mode } = statSync(folder)
  if ((mode & 0o1002) === 0o002)
    throw new Error(`everybody may write in ${folder}: no secret is put there; chmod o-w it, or name another folder`)
}

/** Numbers of `user`, `user:group` or `:group`, by the tables of this machine. Throws when there is no such one. */
export function ownershipOf(owner: string | undefined): Ownership {
  const [user = '', group = ''] = (owner ?? '').split(':')
  const row = user === '' ? undefined : find('/etc/passwd', user)
  const uid = user === '' ? undefined : /^\d+$/.test(user) ? Number(user) : row && Number(row[2])
  if (user !== '' && uid === undefined) throw new Error(`there is no user ${user} on this machine: give a number`)
  if (group === '') return { uid, gid: row ? Number(row[3]) : undefined }
  const gid = /^\d+$/.test(group) ? Number(group) : find('/etc/group', group)?.[2]
  if (gid === undefined) throw new Error(`there is no group ${group} on this machine: give a number`)
  return { uid, gid: Number(gid) }
}

function find(table: string, name: string): string[] | undefined {
  try {
    return readFileSync(table, 'utf8')
      .split('\n')
      .map((row) => row.split(':'))
      .find(([first, , number]) => first === name || (number === name && name !== ''))
  } catch {
    return undefined
  }
}
