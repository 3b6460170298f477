import { existsSync, readdirSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's own folder: this file stands in src/cli/, or bundled in dist/. */
export const packageDir = fileURLToPath(new URL(import.meta.url.includes('/src/cli/') ? '../..' : '..', import.meta.url)).replace(/\/$/, '')

/** The sidecar's program; `OUTRIDER_SIDECAR` names another one, e.g. a build under test. */
export function sidecarProgram(env: NodeJS.ProcessEnv = process.env): string {
  return env.OUTRIDER_SIDECAR || join(packageDir, 'bin', 'outriderd')
}

/** Where the embedded components, the registry of sidecars and the list of running instances live. */
export function dataDirectory(given: string, env: NodeJS.ProcessEnv = process.env): string {
  return resolve(given || env.OUTRIDER_DATA_DIR || join(homedir(), '.outrider'))
}

/** Dapr's own folder, whose components and config.yaml are the defaults when they exist. */
export function daprDirectory(runtimePath: string, env: NodeJS.ProcessEnv = process.env): string {
  return join(runtimePath || env.DAPR_RUNTIME_PATH || homedir(), '.dapr')
}

/** `~/x` under the home directory, other relative paths under `base`. */
export function fromBase(base: string, path: string): string {
  if (path === '~' || path.startsWith('~/')) return join(homedir(), path.slice(2))
  return isAbsolute(path) ? path : join(base, path)
}

/** Whether the folder holds at least one YAML file. */
export function hasResources(directory: string): boolean {
  try {
    return readdirSync(directory).some((name) => /\.ya?ml$/i.test(name))
  } catch {
    return false
  }
}

export function isDirectory(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory()
}
