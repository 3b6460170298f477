import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface MissingServer {
  name: string
  help: string
}

/** Optional servers of the test suite that this machine does not offer, by name. Mirrors what test/servers.ts looks for. */
export function missingServers(env: Readonly<Record<string, string | undefined>> = process.env): MissingServer[] {
  const missing: MissingServer[] = []
  if (!env.OUTRIDER_TEST_REDIS && !onPath('redis-server', env.PATH, [])) {
    missing.push({ name: 'Redis', help: 'install redis-server, or set OUTRIDER_TEST_REDIS=host:port' })
  }
  if (!env.OUTRIDER_TEST_POSTGRES && !onPath('postgres', env.PATH, postgresFolders())) {
    missing.push({ name: 'PostgreSQL', help: 'install postgresql, or set OUTRIDER_TEST_POSTGRES=postgres://user@host:port/database' })
  }
  return missing
}

/** Debian keeps the server's programs off the path, a folder for each version. */
function postgresFolders(): string[] {
  try {
    return readdirSync('/usr/lib/postgresql').map((version) => join('/usr/lib/postgresql', version, 'bin'))
  } catch {
    return []
  }
}

function onPath(name: string, path: string | undefined, more: readonly string[]): boolean {
  return [...(path ?? '').split(delimiter), ...more].some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return folder !== ''
    } catch {
      return false
    }
  })
}
