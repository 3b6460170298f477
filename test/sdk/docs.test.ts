import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { stopGroup } from '../../src/cli/process.ts'
import { freePort } from '../servers/process.ts'
import { lacks } from './install.ts'

// Each page of docs/sdk is followed to the letter, with the SDK that is installed under test/sdk.
const root = join(import.meta.dirname, '..', '..')
const sdk = (path: string) => join(import.meta.dirname, path)

/** What the page's install step would have left in the folder. */
const INSTALLED: Readonly<Record<string, (folder: string) => void>> = {
  javascript: (folder) => symlinkSync(sdk('javascript/node_modules'), join(folder, 'node_modules')),
  python: () => {},
  go: (folder) => {
    for (const file of ['go.mod', 'go.sum']) copyFileSync(sdk(join('go', file)), join(folder, file))
  },
  java: (folder) => symlinkSync(sdk('java/target/lib'), join(folder, 'lib')),
}

function block(page: string, mark: RegExp): RegExpExecArray {
  return mark.exec(page) ?? assert.fail(`the page has nothing like ${mark}`)
}

for (const [language, install] of Object.entries(INSTALLED)) {
  test(`docs/sdk/${language}.md does what it says`, { timeout: 90_000 }, async (t) => {
    const what = lacks(language)
    if (what && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${what}`)
    if (what) return t.skip(what)
    const page = readFileSync(join(root, 'docs', 'sdk', `${language}.md`), 'utf8')
    const [, file, program] = block(page, /<!-- file: (\S+) -->\n```\w+\n([\s\S]*?)```/) as unknown as [string, string, string]
    const lines = program.split('\n').filter((line) => line.trim() !== '').length
    assert.ok(lines < 20, `${lines} lines are not "under 20"`)
    const port = String(await freePort())
    const run = (block(page, /<!-- run -->\n```sh\n(.*)\n```/)[1] as string).replace('3000', port)
    const call = /<!-- call -->\n```sh\n(.*)\n```/.exec(page)?.[1]
    const output = block(page, /```output\n(.*)\n```/)[1] as string

    const folder = mkdtempSync(join(tmpdir(), `outrider-${language}-`))
    writeFileSync(join(folder, file), program)
    install(folder)
    const path = [join(root, 'bin'), dirname(process.execPath), sdk('python/.venv/bin'), process.env.PATH].join(delimiter)
    const options = { cwd: folder, env: { ...process.env, PATH: path, OUTRIDER_DATA_DIR: join(folder, 'data') } }
    const child = spawn('sh', ['-c', run], { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let log = ''
    let look = () => {}
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (part: Buffer) => {
        log += part.toString()
        look()
      })
    }
    const says = (text: string) =>
      new Promise<void>((resolve, reject) => {
        look = () => log.includes(text) && resolve()
        child.once('exit', (code) => reject(new Error(`${run} ended with ${code} before it said ${text}:\n${log}`)))
        t.signal.addEventListener('abort', () => reject(new Error(`${run} does not say ${text}:\n${log}`)))
        look()
      })
    t.after(async () => {
      await stopGroup(child.pid as number, 5000)
      rmSync(folder, { recursive: true, force: true })
    })
    await says('dapr initialized')
    if (call) await promisify(execFile)('sh', ['-c', call], { ...options, timeout: 20_000 })
    await says(output)
  })
}
