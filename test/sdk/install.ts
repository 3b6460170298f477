import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

// node test/sdk/install.ts [language…]: brings the official SDKs from their registries, each into its language's folder.

interface Language {
  /** Where it is no SDK: what it is. */
  what?: string
  /** A file, below the language's folder, that is there once the SDK is. */
  installed: string
  steps: readonly (readonly [command: string, ...args: string[]])[]
}

const LANGUAGES: Readonly<Record<string, Language>> = {
  javascript: {
    installed: 'node_modules/@dapr/dapr/package.json',
    steps: [['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund']],
  },
  python: {
    installed: '.venv/complete',
    steps: [
      ['python3', '-m', 'venv', '--clear', '.venv'],
      ['.venv/bin/pip', 'install', '--disable-pip-version-check', '--quiet', '--only-binary=:all:', '-r', 'requirements.txt'],
      ['touch', '.venv/complete'],
    ],
  },
  // No .NET: stubs from Dapr's own protos, which come with the Go module that the Go SDK stands on.
  dotnet: {
    installed: '.venv/complete',
    steps: [
      ['python3', '-m', 'venv', '--clear', '.venv'],
      ['.venv/bin/pip', 'install', '--disable-pip-version-check', '--quiet', '--only-binary=:all:', '-r', 'requirements.txt'],
      ['sh', 'generate.sh'],
      ['touch', '.venv/complete'],
    ],
  },
  go: {
    installed: 'build/program',
    steps: [['go', 'build', '-o', 'build/program', '.']],
  },
  // Clients from npm and PyPI that the tests of the roles (src/agent) speak with.
  agents: {
    what: 'what agents are tested with',
    installed: '.venv/complete',
    steps: [
      ['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'],
      ['python3', '-m', 'venv', '--clear', '.venv'],
      ['.venv/bin/pip', 'install', '--disable-pip-version-check', '--quiet', '--only-binary=:all:', '-r', 'requirements.txt'],
      ['touch', '.venv/complete'],
    ],
  },
  java: {
    installed: 'target/complete',
    steps: [
      ['mvn', '--quiet', '--batch-mode', 'compile', 'dependency:copy-dependencies', '-DoutputDirectory=target/lib'],
      ['touch', 'target/complete'],
    ],
  },
}

/** What is missing for a language's tests, with the command that brings it; undefined when nothing is. */
export function lacks(language: string): string | undefined {
  const { installed, what } = LANGUAGES[language] as Language
  if (existsSync(join(import.meta.dirname, language, installed))) return undefined
  return `${what ?? `the Dapr SDK for ${language}`} is not installed: node test/sdk/install.ts ${language}`
}

/** Languages whose tests are skipped on this machine, in the shape of scripts/servers.ts. */
export function missingSdks(): { name: string; help: string }[] {
  return Object.keys(LANGUAGES)
    .filter((language) => lacks(language))
    .map((language) => ({ name: LANGUAGES[language]?.what ?? `Dapr SDK for ${language}`, help: `node test/sdk/install.ts ${language}` }))
}

/** Runs a step in the language's folder; rejects with what it printed when it fails. */
function run(language: string, [command, ...args]: readonly [string, ...string[]]): Promise<void> {
  return new Promise((resolve, reject) => {
    let printed = ''
    const fail = (how: string) => reject(new Error(`${language}: ${command} ${args.join(' ')} ${how}\n${printed.slice(-20_000)}`))
    const child = spawn(command, args, { cwd: join(import.meta.dirname, language), stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (part: Buffer) => {
        printed += part.toString()
      })
    }
    child.once('error', (error) => fail(`cannot be started: ${error.message}`))
    child.once('close', (code) => (code === 0 ? resolve() : fail(`ended with ${code}`)))
  })
}

async function install(language: string): Promise<void> {
  const known = LANGUAGES[language]
  if (!known) throw new Error(`no such language: ${language}; there are ${Object.keys(LANGUAGES).join(', ')}`)
  const started = performance.now()
  for (const step of known.steps) await run(language, step)
  console.log(`${language}: installed in ${((performance.now() - started) / 1000).toFixed(0)} s`)
}

if (import.meta.main) {
  // All at once: each waits for its registry most of the time.
  const asked = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(LANGUAGES)
  for (const result of await Promise.allSettled(asked.map(install))) {
    if (result.status === 'fulfilled') continue
    console.error(result.reason instanceof Error ? result.reason.message : result.reason)
    process.exitCode = 1
  }
}
