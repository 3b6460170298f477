import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import { messageOf } from '../../../errors.ts'
import { watchFolders } from '../../../resources/watch.ts'
import { type Entry, MOST_BYTES, type OpenSource } from '../source.ts'

/** YAML and JSON files of a folder, named as their services; a change of the folder is a change of the source. */
export const openFiles: OpenSource = (spec) => {
  const folder = resolve(spec.files?.folder ?? '.')
  const what = `the folder ${folder}`
  let changed = false
  let heard: (() => void) | undefined
  const watch = watchFolders([folder], () => {
    changed = true
    heard?.()
  })
  return {
    what,
    async read() {
      changed = false
      const entries: Entry[] = []
      let bytes = 0
      for (const name of (await readdir(folder)).sort()) {
        const found = /^([^.].*)\.(yaml|yml|json)$/.exec(name)
        if (!found) continue
        const text = await readFile(join(folder, name), 'utf8')
        bytes += text.length
        if (bytes > MOST_BYTES) throw new Error(`${what} has more than ${MOST_BYTES} bytes`)
        let value: unknown
        try {
          value = found[2] === 'json' ? JSON.parse(text) : parse(text, { maxAliasCount: 100, logLevel: 'error' })
        } catch (error) {
          throw new Error(`${join(folder, name)} cannot be read: ${messageOf(error)}`)
        }
        if (value !== null && value !== undefined) entries.push({ path: [spec.service ?? (found[1] as string)], value })
      }
      return entries
    },
    wait: (signal) =>
      new Promise((resolve) => {
        if (changed || signal.aborted) return resolve()
        const done = () => {
          heard = undefined
          signal.removeEventListener('abort', done)
          resolve()
        }
        heard = done
        signal.addEventListener('abort', done, { once: true })
      }),
    async [Symbol.asyncDispose]() {
      watch[Symbol.dispose]()
    },
  }
}
