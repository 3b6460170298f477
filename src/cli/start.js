// Plain JavaScript, so that nothing needs the type stripper before the compile cache is on: with a warm cache it never
// loads, which is a good part of the start and of the memory. Runs the bundle of scripts/build.ts if it is of these sources.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

export const stampName = 'stamp.json'

export function stampOf(root) {
  let files = 0
  let changed = 0
  for (const entry of readdirSync(`${root}/src`, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    files++
    changed = Math.max(changed, statSync(`${entry.parentPath}/${entry.name}`).mtimeMs)
  }
  return { files, changed }
}

export function isBuilt(root) {
  try {
    const built = JSON.parse(readFileSync(`${root}/dist/${stampName}`, 'utf8'))
    const now = stampOf(root)
    return built.files === now.files && built.changed === now.changed
  } catch {
    return false
  }
}

if (import.meta.main) {
  enableCompileCache()
  const program = process.argv[2]
  await import(isBuilt(fileURLToPath(new URL('../..', import.meta.url))) ? `../../dist/${program}.js` : `./${program}.ts`)
}
