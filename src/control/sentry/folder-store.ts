import { type FSWatcher, watch } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Logger } from '../../telemetry/log.ts'
import type { BundleStore, BundleTexts } from './bundle.ts'

/** A bundle in a folder; a name that is an absolute path lies there. Files are for the owner only. */
export function folderStore(folder: string, names: readonly string[], log: Logger): BundleStore {
  const paths = new Map(names.map((name) => [name, resolve(folder, name)]))
  return {
    async read() {
      const texts: Record<string, string | undefined> = {}
      for (const [name, path] of paths) {
        texts[name] = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return undefined
          throw error
        })
      }
      return texts
    },
    async write(texts: BundleTexts) {
      for (const [name, text] of Object.entries(texts)) {
        const path = paths.get(name) ?? resolve(folder, name)
        await mkdir(dirname(path), { recursive: true, mode: 0o700 })
        // Whole or not at all.
        await writeFile(`${path}.new`, text ?? '', { mode: 0o600 })
        await rename(`${path}.new`, path)
      }
      return true
    },
    follow(onChange) {
      const watchers: FSWatcher[] = []
      for (const place of new Set([...paths.values()].map((path) => dirname(path)))) {
        try {
          const watcher = watch(place, { persistent: false }, onChange)
          watcher.on('error', (error) => log.warn(`changes of ${place} are not seen any more: ${error.message}`))
          watchers.push(watcher)
        } catch (error) {
          log.warn(`changes of ${place} are not seen: ${String(error)}`)
        }
      }
      return {
        [Symbol.dispose]() {
          for (const watcher of watchers) watcher.close()
        },
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}
