import { type FSWatcher, readFileSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'

/** Tokens of a file that is followed: one a line, the first the one that is sent. */
export interface TokenFile extends Disposable {
  readonly tokens: readonly string[]
  /** Reads the file again; what cannot be used leaves the old tokens in place. */
  refresh(): void
}

/** Enough for one that comes and one that goes. */
const MAX_TOKENS = 16
const MAX_SIZE = 64 * 1024

/**
 * Opens a token file. Throws when it cannot be used.
 * @param variable The environment variable that names it, for messages.
 */
export function openTokenFile(variable: string, path: string, log: Logger): TokenFile {
  let tokens: readonly string[]
  try {
    tokens = read(path)
  } catch (error) {
    throw new Error(`${variable}: ${path} is unusable: ${messageOf(error)}; write the token there, alone on its line`)
  }
  let complaint = ''
  const file = {
    get tokens() {
      return tokens
    },
    refresh() {
      try {
        const fresh = read(path)
        complaint = ''
        if (fresh.join('\n') === tokens.join('\n')) return
        tokens = fresh
        log.info(`${variable}: ${path} changed and now holds ${fresh.length} token${fresh.length === 1 ? '' : 's'}`)
      } catch (error) {
        // A file being replaced is empty or absent for a moment.
        const text = `${variable}: ${path} cannot be read, the tokens from before stay in use: ${messageOf(error)}`
        if (text !== complaint) log.warn(text)
        complaint = text
      }
    },
    [Symbol.dispose]: () => {
      watcher?.close()
      clearInterval(timer)
    },
  }
  let watcher: FSWatcher | undefined
  let timer: NodeJS.Timeout | undefined
  try {
    // The folder: a file swapped by renaming, or by a symbolic link as Kubernetes does, is another file.
    watcher = watch(dirname(path), { persistent: false }, () => file.refresh())
    watcher.on('error', () => {})
  } catch (error) {
    log.warn(`${variable}: changes of ${path} are seen each minute only: its folder cannot be watched: ${messageOf(error)}`)
    timer = setInterval(() => file.refresh(), 60_000).unref()
  }
  return file
}

function read(path: string): readonly string[] {
  const text = readFileSync(path, 'utf8')
  if (text.length > MAX_SIZE) throw new Error(`it is larger than ${MAX_SIZE} bytes`)
  const tokens = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '')
  if (tokens.length === 0) throw new Error('it holds no token')
  if (tokens.length > MAX_TOKENS) throw new Error(`it holds more than ${MAX_TOKENS} tokens`)
  const bad = tokens.findIndex((token) => /[^\x21-\x7e]/.test(token))
  if (bad >= 0) throw new Error(`line ${bad + 1} of its tokens holds a character that no header takes`)
  return tokens
}
