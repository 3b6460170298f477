import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const SUITE = 'sid'

/** A file tree that programs of Debian sid run from, on an older Debian. */
export interface SidRoot {
  folder: string
  /** What starts a program of the tree, given by its path there: its own loader with its own libraries. */
  command(program: string): [string, string[]]
}

export function sidRoot(folder: string): SidRoot {
  const libraries = ['usr/lib/x86_64-linux-gnu', 'usr/lib'].map((path) => join(folder, path))
  return {
    folder,
    command: (program) => [join(folder, 'usr/lib64/ld-linux-x86-64.so.2'), ['--library-path', libraries.join(':'), join(folder, program)]],
  }
}

/**
 * Unpacks a package of Debian sid, with all that it depends on down to the C library, into a folder of its own: nothing of it is
 * installed. apt finds and checks the packages, by lists and a state of its own, as if the machine had none.
 */
export async function unpackSid(wanted: string, folder: string): Promise<SidRoot> {
  const state = `${folder}.apt`
  rmSync(state, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  for (const path of ['none.d', 'lists/partial', 'archives/partial', 'log']) mkdirSync(join(state, path), { recursive: true })
  mkdirSync(folder, { recursive: true })
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  writeFileSync(join(state, 'status'), '')
  writeFileSync(join(state, 'sources.list'), `deb [arch=amd64 signed-by=${keyring}] http://deb.debian.org/debian ${SUITE} main\n`)
  const settings: Record<string, string> = {
    Dir: state,
    'Dir::State': state,
    'Dir::State::status': join(state, 'status'),
    'Dir::Cache': state,
    'Dir::Log': join(state, 'log'),
    'Dir::Etc': state,
    'Dir::Etc::main': 'none',
    'Dir::Etc::parts': 'none.d',
    'Dir::Etc::preferencesparts': 'none.d',
    'Dir::Etc::sourcelist': 'sources.list',
    'Dir::Etc::sourceparts': 'none.d',
    'APT::Architecture': 'amd64',
    'APT::Install-Recommends': 'false',
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    // A mirror that stands still says nothing false about the packages that it has.
    'Acquire::Check-Valid-Until': 'false',
    'Acquire::Retries': '3',
    'Debug::NoLocking': 'true',
  }
  const file = join(state, 'apt.conf')
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${JSON.stringify(value)};\n`)
      .join(''),
  )
  const options = { env: { PATH: process.env.PATH, LC_ALL: 'C', APT_CONFIG: file }, maxBuffer: 16 << 20 }
  await run('apt-get', ['update', '--quiet', '--error-on=any'], options)
  await run('apt-get', ['install', '--quiet', '--yes', '--download-only', wanted], options)
  const archives = join(state, 'archives')
  for (const name of readdirSync(archives).filter((one) => one.endsWith('.deb')))
    await run('dpkg-deb', ['-x', join(archives, name), folder])
  rmSync(state, { recursive: true, force: true })
  return sidRoot(folder)
}
