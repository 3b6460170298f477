import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isBuilt, stampName, stampOf } from '../src/cli/start.js'

/** Each has its entry in bin/. */
const PROGRAMS = ['outriderd', 'outrider', 'outrider-control', 'outrider-injector', 'outrider-operator', 'outrider-sentry']

/**
 * Bundles the programs into dist/, from where src/cli/start.js runs them as long as they are newer than the sources.
 * Measured with six components: ready in 200 instead of 290 ms, 73 instead of 80 MiB. Without it the sources run as they are.
 */
export async function build(root: string): Promise<void> {
  const esbuild = await import('esbuild')
  const before = stampOf(root)
  const next = join(root, `dist.${process.pid}`)
  const dist = join(root, 'dist')
  await esbuild.build({
    absWorkingDir: root,
    entryPoints: PROGRAMS.map((name) => `src/cli/${name}.ts`),
    outdir: next,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    logLevel: 'warning',
    // Libraries in CommonJS ask for require, which ES modules do not have.
    banner: { js: "import { createRequire as outriderRequire } from 'node:module'; const require = outriderRequire(import.meta.url);" },
  })
  writeFileSync(join(next, stampName), JSON.stringify(before))
  rmSync(dist, { recursive: true, force: true })
  renameSync(next, dist)
  const size = readdirSync(dist).reduce((sum, name) => sum + statSync(join(dist, name)).size, 0)
  console.log(`dist: ${readdirSync(dist).length} files, ${(size / 2 ** 20).toFixed(1)} MiB`)
}

if (import.meta.main) {
  const root = fileURLToPath(new URL('..', import.meta.url))
  try {
    if (!isBuilt(root)) await build(root)
  } catch (error) {
    // An installation without development packages runs from its sources, or from the dist/ it came with.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    console.log('dist: not built, esbuild is not installed; the programs run from src/')
  }
}
