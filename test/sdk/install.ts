import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

// node test/sdk/install.ts [language…]: brings the official SDKs from their registries, each into its language's folder.

interface Language {
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
  go: {
    installed: 'build/program',
    steps: [['go', 'build', '-o', 'build/program', '.']],
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
  const { installed } = LANGUAGES[language] as Language
  if (existsSync(join(import.meta.dirname, language, installed))) return undefined
  return `the Dapr SDK for ${language} is not installed: node test/sdk/install.ts ${language}`
}

/** Languages whose tests are skipped on this machine, in the shape of scripts/servers.ts. */
export function missingSdks(): { name: string; help: string }[] {
  return Object.keys(LANGUAGES)
    .filter((language) => lacks(language))
    .map((language) => ({ name: `Dapr SDK for ${language}`, help: `node test/sdk/install.ts ${language}` }))
}

if (import.meta.main) {
  for (const language of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(LANGUAGES)) {
    const known = LANGUAGES[language]
    if (!known) throw new Error(`no such language: ${language}; there are ${Object.keys(LANGUAGES).join(', ')}`)
    const started = performance.now()
    for (const [command, ...args] of known.steps) {
      const { status, error } = spawnSync(command, args, { cwd: join(import.meta.dirname, language), stdio: 'inherit' })
      if (status === 0) continue
      console.error(`${language}: ${command} ${args.join(' ')} ${error ? `cannot be started: ${error.message}` : `ended with ${status}`}`)
      process.exit(1)
    }
    console.log(`${language}: installed in ${((performance.now() - started) / 1000).toFixed(0)} s`)
  }
}
