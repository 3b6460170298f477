import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { SecretStore } from '../../blocks/secrets/driver.ts'
import { driver } from '../../components/secretstores/vault/driver.ts'
import { type VaultDouble, vaultDouble } from '../../components/secretstores/vault/testing.ts'
import { secretFilesKind } from '../../resources/secret-files-schema.ts'
import { createLogger } from '../../telemetry/log.ts'
import { openForTest } from '../testing/role-context.ts'
import { expiryOf, waitOf } from './expiry.ts'
import { formatted } from './renderer.ts'
import { openSecretFiles } from './secret-files.ts'

const CANARY = 'hunter2-canary'

async function bed(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-secret-files-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const vault = await vaultDouble()
  t.after(() => vault[Symbol.asyncDispose]())
  const store = await storeOf(vault)
  t.after(() => store[Symbol.asyncDispose]())
  const open = (spec: object, options: Parameters<typeof openForTest>[3] = {}) =>
    openForTest(
      openSecretFiles,
      'SecretFiles',
      { secretStore: 'vault', folder: join(folder, 'run'), refresh: '1s', jitter: 0, ...spec },
      { ...options, components: { secretStore: () => store } },
    )
  return { folder, run: join(folder, 'run'), vault, open }
}

async function storeOf(vault: VaultDouble): Promise<SecretStore> {
  const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
  const properties = { vaultAddr: vault.url, vaultToken: 'root' }
  const store = driver.create({
    name: 'vault',
    type: 'secretstores.hashicorp.vault',
    version: 'v1',
    properties,
    appId: 'app',
    namespace: '',
    log,
  })
  await store.init(AbortSignal.timeout(5000))
  return store
}

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8)

test("Vault Agent's templates become files that only their owner reads; a new version takes their place and who uses them is told", async (t) => {
  const { run, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ user: 'shop', password: CANARY }])
  const told = join(run, '..', 'told')
  await using opened = await open(
    {
      files: [
        {
          path: 'db.properties',
          template: `# of {{ env "REGION" | toUpper }}
{{- with secret "secret/data/db" }}
user={{ .Data.data.user }}
url=postgres://{{ .Data.data.user }}:{{ .Data.data.password | base64Encode }}@db
{{- range $name, $value := .Data.data }}
{{ $name }}: {{ $value | toJSON }}
{{- end }}
{{- end }}
{{ secret "db" "user" | printf "%q %s" "by" }}{{/* nothing */}}{{ if eq (env "REGION") "eu" }} in Europe{{ else }} elsewhere{{ end }}
`,
          afterChange: { command: [process.execPath, '-e', `fs.appendFileSync(${JSON.stringify(told)}, 'told ')`] },
        },
        { path: 'raw/password', secret: 'db', key: 'password', mode: '0640' },
        { path: 'all.json', secret: 'db' },
      ],
    },
    { env: { ...process.env, REGION: 'eu' } },
  )
  const encoded = Buffer.from(CANARY).toString('base64')
  assert.equal(
    readFileSync(join(run, 'db.properties'), 'utf8'),
    `# of EU\nuser=shop\nurl=postgres://shop:${encoded}@db\npassword: "${CANARY}"\nuser: "shop"\n"by" shop in Europe\n`,
  )
  assert.deepEqual(
    [modeOf(run), modeOf(join(run, 'raw')), modeOf(join(run, 'db.properties')), modeOf(join(run, 'raw/password'))],
    ['700', '700', '600', '640'],
  )
  assert.deepEqual(JSON.parse(readFileSync(join(run, 'all.json'), 'utf8')), { user: 'shop', password: CANARY })
  assert.equal(readFileSync(told, 'utf8'), 'told ')
  const before = statSync(join(run, 'db.properties'))
  vault.secrets.get('dapr/db')?.push({ user: 'shop', password: `${CANARY}-2` })
  await opened.until(() => (readFileSync(told, 'utf8') === 'told told ' ? true : undefined))
  assert.equal(readFileSync(join(run, 'raw/password'), 'utf8'), `${CANARY}-2`)
  assert.notEqual(statSync(join(run, 'db.properties')).ino, before.ino, 'another file took its name')
  // Nothing changed: nobody is told, nothing is written.
  const kept = statSync(join(run, 'db.properties')).ino
  const rounds = Number(opened.role.status?.().rounds)
  await opened.until(() => (Number(opened.role.status?.().rounds) > rounds ? true : undefined))
  assert.deepEqual([readFileSync(told, 'utf8'), statSync(join(run, 'db.properties')).ino], ['told told ', kept])
  assert.ok(!readdirSync(run).some((name) => name.endsWith('.new')))
  const said = opened.log.join('\n') + JSON.stringify(opened.role.status?.()) + opened.role.metrics?.()
  assert.ok(!said.includes(CANARY) && !said.includes(encoded))
  assert.match(said, /db\.properties changed/)
})

test('a store that is away leaves the files, is told, and is asked again', async (t) => {
  const { run, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ password: CANARY }])
  await using opened = await open({ files: [{ path: 'password', secret: 'db', key: 'password' }] })
  vault.tokens.delete('root')
  await opened.until(() => (opened.reports.at(-1)?.state === 'retrying' ? true : undefined))
  assert.match(String(opened.reports.at(-1)?.error), /the secret db cannot be read from vault/)
  assert.equal(readFileSync(join(run, 'password'), 'utf8'), CANARY)
  vault.tokens.add('root')
  await opened.until(() => (opened.reports.at(-1)?.state === 'up' ? true : undefined))
})

test('what cannot be put in place is refused, and nothing half is there', async (t) => {
  const { run, folder, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ password: CANARY }])
  await assert.rejects(
    open({ files: [{ path: 'a', template: '{{ secret "db" "nope" }}' }] }),
    /run\/a: line 1: the secret db has no nope; it has password/,
  )
  await assert.rejects(open({ files: [{ path: 'a', template: 'x\n{{ with secret "db" }}' }] }), /run\/a: line 2: with has no end/)
  await assert.rejects(
    open({ files: [{ path: 'a', template: '{{ key "db" }}' }] }),
    /line 1: there is no function key; there is secret, env/,
  )
  await assert.rejects(
    open({
      files: [
        { path: 'a', secret: 'db' },
        { path: 'b', secret: 'gone' },
      ],
    }),
    /the secret gone cannot be read from vault/,
  )
  assert.ok(!existsSync(join(run, 'a')), 'files that belong together come together')
  await assert.rejects(open({ files: [{ path: 'a', secret: 'db', owner: 'nobody-we-know' }] }), /there is no user nobody-we-know/)
  const public_ = join(folder, 'public')
  mkdirSync(public_)
  chmodSync(public_, 0o777)
  await assert.rejects(open({ folder: public_, files: [{ path: 'a', secret: 'db' }] }), /everybody may write in .*public/)
  const message = (spec: object) => String(secretFilesKind.check?.({ secretStore: 'vault', ...spec })?.message)
  assert.match(message({ files: [{ path: 'a', secret: 'db', mode: '0644' }] }), /mode 0644, by which everybody could read it/)
  assert.match(message({ files: [{ path: 'a' }] }), /needs one of template, templateFile and secret/)
  assert.match(message({}), /neither files nor child/)
})

test('files get the owner that they name', { skip: process.getuid?.() !== 0 && 'only root may give files away' }, async (t) => {
  const { run, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ password: CANARY }])
  await using _opened = await open({ files: [{ path: 'a', secret: 'db', owner: '65534:65534', mode: '0440' }] })
  const { uid, gid } = statSync(join(run, 'a'))
  assert.deepEqual([uid, gid, modeOf(join(run, 'a'))], [65534, 65534, '440'])
})

test('a child gets secrets in its environment, is started again when they change or when it fails, and ends with the role', async (t) => {
  const { folder, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ password: 'one' }])
  const notes = join(folder, 'notes')
  const script = `fs.appendFileSync(${JSON.stringify(notes)}, process.env.DB + ',' + (process.env.OUTRIDER_AGENT_TOKEN ?? 'none') + ',' + process.pid + '\\n'); setInterval(() => {}, 1000)`
  const seen = () => (existsSync(notes) ? readFileSync(notes, 'utf8').split('\n').slice(0, -1) : []).map((row) => row.split(','))
  const alive = (pid: number) => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  let last = 0
  {
    await using opened = await open(
      { child: { command: [process.execPath, '-e', script], env: { DB: { secret: 'db', key: 'password' } } } },
      { env: { ...process.env, OUTRIDER_AGENT_TOKEN: 'theirs' } },
    )
    const [first] = await opened.until(() => (seen().length === 1 ? seen() : undefined))
    assert.deepEqual(first?.slice(0, 2), ['one', 'none'])
    vault.secrets.get('dapr/db')?.push({ password: 'two' })
    const second = await opened.until(() => (seen().length === 2 ? seen()[1] : undefined))
    assert.equal(second[0], 'two')
    assert.equal(alive(Number(first?.[2])), false)
    process.kill(Number(second[2]), 'SIGKILL')
    const third = await opened.until(() => (seen().length === 3 ? seen()[2] : undefined))
    last = Number(third[2])
    assert.ok(alive(last))
    assert.ok(opened.log.some((line) => line.includes('ended with SIGKILL; it is started again')))
  }
  assert.equal(alive(last), false)
})

test('a process that names itself in a file gets a signal', async (t) => {
  const { folder, vault, open } = await bed(t)
  vault.secrets.set('dapr/db', [{ password: 'one' }])
  const pidFile = join(folder, 'pid')
  writeFileSync(pidFile, `${process.pid}\n`)
  const signalled = new Promise<void>((resolve) => process.once('SIGHUP', () => resolve()))
  await using _opened = await open({ files: [{ path: 'a', secret: 'db', afterChange: { pidFile } }] })
  await signalled
})

test('certificates and tokens are read anew before they end', async (t) => {
  const exp = 1_800_000_000
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const token = `${part({ alg: 'none' })}.${part({ exp })}.x`
  assert.equal(expiryOf(`token=${token}\n`), exp * 1000)
  assert.equal(expiryOf('nothing'), undefined)
  const pace = { refresh: 3_600_000, renewBefore: undefined, jitter: 0.1 }
  assert.equal(
    waitOf(undefined, 0, pace, () => 0),
    3_600_000,
  )
  assert.equal(
    waitOf(600_000, 0, pace, () => 0),
    400_000,
  )
  assert.equal(
    waitOf(600_000, 0, pace, () => 1),
    360_000,
  )
  assert.equal(
    waitOf(600_000, 0, { ...pace, renewBefore: 60_000 }, () => 0),
    540_000,
  )
  assert.equal(
    waitOf(5, 10, pace, () => 0),
    1000,
  )
  const { folder, vault, open } = await bed(t)
  let made = ''
  try {
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=a']
    execFileSync('openssl', [...args, '-keyout', join(folder, 'key'), '-out', join(folder, 'crt')], { stdio: 'ignore' })
    made = readFileSync(join(folder, 'crt'), 'utf8')
  } catch {
    return t.diagnostic('no openssl: certificates not tried')
  }
  vault.secrets.set('dapr/tls', [{ crt: made }])
  await using opened = await open({ files: [{ path: 'tls.crt', secret: 'tls', key: 'crt' }] })
  const left = Date.parse(String(opened.role.status?.().expires)) - Date.now()
  assert.ok(left > 23 * 3_600_000 && left <= 24 * 3_600_000, String(left))
})

test('formats are read by what they are for', () => {
  const secret = { a: "it's $HOME", 'b.c': 'x\ny', d: 'plain' }
  const env = formatted(secret, 'env')
  const shell = execFileSync('sh', ['-c', `${env}printf '%s|%s|%s' "$a" "$b_c" "$d"`], { encoding: 'utf8' })
  assert.equal(shell, "it's $HOME|x\ny|plain")
  assert.equal(formatted(secret, 'properties'), "a=it's $HOME\nb.c=x\\ny\nd=plain\n")
})
