import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { locateRunFile, parseRunFile } from './run-file.ts'

const base = realpathSync(mkdtempSync(join(tmpdir(), 'outrider-run-file-')))
after(() => rmSync(base, { recursive: true }))
for (const folder of ['one/parts', 'two/.dapr/resources', 'shared', 'runtime']) mkdirSync(join(base, folder), { recursive: true })
const parse = (text: string) => parseRunFile(text, join(base, 'dapr.yaml'), join(base, 'data'))

test('apps inherit from common, their own values and paths count first', () => {
  const { name, plans } = parse(`
version: 1
name: pair
common:
  resourcesPath: shared
  logLevel: warn
  appPort: 9
  env: {A: common, B: common}
apps:
  - appDirPath: one
    appID: first
    appPort: 8000
    daprHTTPPort: 3500
    logLevel: debug
    resourcesPaths: [parts]
    command: [node, app.mjs, 8000]
    env: {B: app, C: yes, D: 0123}
    daprdLogDestination: console
  - appDirPath: two
  - appDirPath: one
    appID: third
`)
  assert.equal(name, 'pair')
  const [first, second, third] = plans
  assert.ok(first && second && third)
  assert.equal(first.settings.appId, 'first')
  assert.equal(first.settings.daprHttpPort, 3500)
  assert.equal(first.settings.logLevel, 'debug')
  assert.deepEqual(first.command, ['node', 'app.mjs', '8000'])
  assert.deepEqual(first.env, { A: 'common', B: 'app', C: 'yes', D: '0123' })
  assert.deepEqual(first.settings.resourcesPaths, [join(base, 'one/parts')])
  assert.equal(first.cwd, join(base, 'one'))
  assert.equal(first.daprdLogPath, '')
  assert.match(first.appLogPath, /\/one\/\.dapr\/logs\/first_app_\d{14}\.log$/)
  assert.equal(second.settings.appId, 'two')
  assert.equal(second.settings.appPort, 0, 'common has no appPort')
  assert.equal(second.settings.logLevel, 'warn')
  assert.deepEqual(second.settings.resourcesPaths, [join(base, 'two/.dapr/resources')])
  assert.deepEqual(third.settings.resourcesPaths, [join(base, 'shared')])
})

test('without resources the embedded components are taken, and that is said once', () => {
  const { plans, notes } = parse(`version: 1\ncommon: {runtimePath: runtime}\napps: [{appDirPath: one}, {appDirPath: one, appID: b}]`)
  assert.deepEqual(
    plans.map((plan) => plan.settings.embedded),
    [true, true],
  )
  assert.equal(notes.length, 1)
})

test("Dapr's own components folder is used when it holds any", () => {
  mkdirSync(join(base, 'runtime/.dapr/components'), { recursive: true })
  writeFileSync(join(base, 'runtime/.dapr/components/statestore.yaml'), '')
  const { plans } = parse('version: 1\ncommon: {runtimePath: runtime}\napps: [{appDirPath: one}]')
  assert.equal(plans[0]?.settings.embedded, false)
  assert.deepEqual(plans[0]?.settings.resourcesPaths, [join(base, 'runtime/.dapr/components')])
})

for (const [what, text, message] of [
  ['no version', 'apps: []', /required field 'version' not found in the provided run template file$/],
  ['no folder', 'version: 1\napps: [{appID: a}]', /required field 'appDirPath' not found/],
  [
    'a missing folder',
    'version: 1\napps: [{appDirPath: nowhere}]',
    /error in getting the file info for .*\/nowhere: stat .*\/nowhere: no such file or directory$/,
  ],
  ['a strange destination', 'version: 1\napps: [{appDirPath: one, appLogDestination: foo}]', /invalid log destination type: foo$/],
  [
    'a strange policy',
    'version: 1\napps: [{appDirPath: one, containerImagePullPolicy: foo}]',
    /invalid containerImagePullPolicy: foo, allowed values: Always, Never, IfNotPresent$/,
  ],
  [
    'a command that is text',
    'version: 1\napps: [{appDirPath: one, command: node app}]',
    /error in parsing the provided app config file: yaml: /,
  ],
  ['broken YAML', 'version: [', /error in parsing the provided app config file: yaml: /],
] as const) {
  test(`${what} is refused in the words of Dapr's tool`, () => {
    assert.throws(
      () => parse(text),
      (error: Error) => error.message.startsWith('Error getting apps from config file: ') && message.test(error.message),
    )
  })
}

test('a lone dot is the folder of the run file', () => {
  assert.equal(parse('version: 1\napps: [{appDirPath: ., appID: a}]').plans[0]?.cwd, base)
})

test('a folder means its dapr.yaml; other files are refused', () => {
  assert.throws(
    () => locateRunFile('nowhere', base),
    /Failed to get run file path: error getting file info for nowhere: stat nowhere: no such file or directory/,
  )
  assert.throws(() => locateRunFile('shared', base), /error in validating the file path ".*shared\/dapr\.yaml"/)
  writeFileSync(join(base, 'foo.txt'), '')
  assert.throws(() => locateRunFile('foo.txt', base), /file "foo.txt" is not a YAML file/)
  writeFileSync(join(base, 'shared/dapr.yaml'), '')
  assert.equal(locateRunFile('shared', base), join(base, 'shared/dapr.yaml'))
})
