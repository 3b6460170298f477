import { lstatSync, realpathSync } from 'node:fs'
import { dirname, isAbsolute, join, posix, relative, sep } from 'node:path'

/** Folders that hold the system's own files or the pod's secrets. */
const FORBIDDEN = ['/proc', '/sys', '/boot', '/var/run/secrets', '/run/secrets']

/** Rejects a root (symlinks resolved) that must not be written to. */
export function checkRoot(root: string): void {
  const found = FORBIDDEN.find((folder) => root === folder || root.startsWith(`${folder}/`))
  if (found) throw new Error(`metadata field rootPath: ${root} is inside ${found}, which is not allowed`)
}

/** A file's place below the root: `..` ends at the root, and a link that leads out of it is refused. */
export function placeOf(root: string, fileName: string): string {
  if (fileName.includes('\0')) throw new Error('fileName holds a NUL character')
  const place = join(root, posix.normalize(`/${fileName.replaceAll('\\', '/')}`))
  let existing = place
  while (existing !== root && !exists(existing)) existing = dirname(existing)
  if (!isInside(root, realpathSync(existing))) throw new Error(`fileName ${fileName} leads out of rootPath through a link`)
  return place
}

function exists(path: string): boolean {
  // A dangling link exists too: writing through it would create its target.
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path)
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way))
}
