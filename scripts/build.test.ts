import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from './build.ts'

test('the programs run the bundle while it is of their sources, and the sources otherwise', async (t) => {
  const project = fileURLToPath(new URL('..', import.meta.url))
  const root = mkdtempSync(join(tmpdir(), 'outrider-build-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  for (const part of ['src', 'bin', 'package.json']) cpSync(join(project, part), join(root, part), { recursive: true })
  symlinkSync(join(project, 'node_modules'), join(root, 'node_modules'))
  const run = (program: string, ...args: string[]) => execFileSync(join(root, 'bin', program), args, { encoding: 'utf8' })

  assert.match(run('outriderd', '--build-info'), /^Code: src$/m)
  await build(root)
  assert.match(run('outriderd', '--build-info'), /^Code: dist$/m)
  assert.match(run('outrider', 'version'), /CLI version: \d/)
  utimesSync(join(root, 'src', 'errors.ts'), new Date(), new Date())
  assert.match(run('outriderd', '--build-info'), /^Code: src$/m)
})
