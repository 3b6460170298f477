import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { openForTest } from '../testing/role-context.ts'
import { openConfigServer } from './config-server.ts'

/** A config server of this spec, for tests. */
export function open(spec: object, options: Parameters<typeof openForTest>[3] = {}): ReturnType<typeof openForTest> {
  return openForTest(openConfigServer, 'ConfigServer', spec, options)
}

/** A folder with these files, until the test is over. */
export function folderOf(t: TestContext, files: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-config-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

/** Flags of every kind: a value, a variant, rules, a split, and one that is wrong. */
export const FLAGS: string = `features:
  new-checkout: true
  limit: 20
  colors: { primary: blue }
  banner:
    variants: { plain: hello, loud: HELLO }
    defaultVariant: plain
    rules: [{ when: { plan: [pro, team] }, variant: loud }]
  split:
    variants: { a: A, b: B }
    defaultVariant: a
    rules: [{ split: { a: 0, b: 100 } }]
  broken: { variants: { on: true }, defaultVariant: off }
`
