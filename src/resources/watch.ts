import { type FSWatcher, statSync, watch } from 'node:fs'

export interface WatchOptions {
  /** Milliseconds without an event after which `onChange` is called. Default 50. */
  quiet?: number
  /** Longest wait for that quiet, milliseconds. Default 1000. */
  most?: number
  /** Milliseconds between looks for a folder that is not there. Default 1000. */
  look?: number
}

interface Folder {
  path: string
  watcher: FSWatcher | undefined
  /** Device and inode of what is watched: a folder made anew is another one. */
  identity: string
}

/**
 * Watches folders (not what lies below) and calls `onChange` after a burst of events is over. Files that are links into a folder
 * that is swapped, as Kubernetes mounts them, count: the swap is an event of the folder. A folder that comes late, or goes and
 * comes back, is watched as soon as it is there. Disposing ends it.
 */
export function watchFolders(paths: readonly string[], onChange: () => void, options: WatchOptions = {}): Disposable {
  const { quiet = 50, most = 1000, look = 1000 } = options
  const folders: Folder[] = paths.map((path) => ({ path, watcher: undefined, identity: '' }))
  let timer: NodeJS.Timeout | undefined
  let search: NodeJS.Timeout | undefined
  let first = 0
  let ended = false

  const changed = () => {
    if (ended) return
    const now = performance.now()
    first ||= now
    clearTimeout(timer)
    timer = setTimeout(
      () => {
        first = 0
        for (const folder of folders) follow(folder)
        onChange()
      },
      Math.max(0, Math.min(quiet, first + most - now)),
    )
  }

  const drop = (folder: Folder) => {
    folder.watcher?.close()
    folder.watcher = undefined
    folder.identity = ''
    if (ended || search) return
    search = setInterval(() => {
      const missing = folders.filter(({ watcher }) => !watcher)
      for (const one of missing) if (follow(one)) changed()
      if (missing.every(({ watcher }) => watcher)) {
        clearInterval(search)
        search = undefined
      }
    }, look).unref()
  }

  /** Sees to it that the folder there is now is the one that is watched. */
  const follow = (folder: Folder): boolean => {
    const identity = identityOf(folder.path)
    if (folder.watcher && identity === folder.identity) return true
    folder.watcher?.close()
    folder.watcher = undefined
    if (identity === '') {
      drop(folder)
      return false
    }
    try {
      const watcher = watch(folder.path, { persistent: false }, changed)
      watcher.on('error', () => {
        drop(folder)
        changed()
      })
      folder.watcher = watcher
      folder.identity = identity
      return true
    } catch {
      drop(folder)
      return false
    }
  }

  for (const folder of folders) follow(folder)
  return {
    [Symbol.dispose]() {
      ended = true
      clearTimeout(timer)
      clearInterval(search)
      for (const { watcher } of folders) watcher?.close()
    },
  }
}

function identityOf(path: string): string {
  try {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  } catch {
    return ''
  }
}
