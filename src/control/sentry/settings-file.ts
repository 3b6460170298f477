import { readFile } from 'node:fs/promises'
import { loadConfiguration } from '../../resources/configuration.ts'
import { type MtlsSpec, parseSettings, type SentrySettings } from './settings.ts'

const DEFAULT_NAME = 'daprsystem'

/** Of a file; without one named the defaults. */
export async function settingsFromFile(path: string): Promise<SentrySettings> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && path === DEFAULT_NAME) return ''
    throw new Error(`the Configuration ${path} cannot be read: ${error.message}`)
  })
  if (text.trim() === '') return parseSettings({})
  const { spec } = await loadConfiguration(path)
  return parseSettings((spec.mtls ?? {}) as MtlsSpec)
}
