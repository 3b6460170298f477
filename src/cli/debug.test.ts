import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from '../../test/servers/process.ts'
import { packageDir } from './paths.ts'

const CANARY = 'canary-9f3b'
const outrider = join(packageDir, 'bin/outrider')

test('a bundle holds what explains a sidecar, and no secret of its resources', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'outrider-debug-'))
  const resources = join(home, 'resources')
  mkdirSync(resources)
  const settings = [
    { name: 'url', value: 'http://localhost:1' },
    { name: 'Authorization', value: CANARY },
    { name: 'securityToken', value: CANARY },
  ]
  const component = {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 'web' },
    spec: { type: 'bindings.http', version: 'v1', metadata: settings },
  }
  writeFileSync(join(resources, 'web.yaml'), JSON.stringify(component))
  const [http, grpc, metrics, profile] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const flags = ['--dapr-http-port', http, '--dapr-grpc-port', grpc, '--metrics-port', metrics, '--profile-port', profile].map(String)
  const data = ['--outrider-data-dir', join(home, 'data')]
  const run = spawn(outrider, ['run', '--app-id', 'bundled', '--resources-path', resources, '--enable-profiling', ...flags, ...data], {
    env: { ...process.env, DAPR_API_TOKEN: CANARY },
  })
  t.after(async () => {
    run.kill('SIGINT')
    if (run.exitCode === null) await once(run, 'exit')
    rmSync(home, { recursive: true, force: true })
  })
  await new Promise<void>((resolve, reject) => {
    let printed = ''
    run.once('exit', () => reject(new Error(printed)))
    run.stdout.on('data', (part: Buffer) => {
      printed += part.toString()
      if (printed.includes("You're up and running")) resolve()
    })
  })
  const file = join(home, 'bundle.tar.gz')
  const { status, stderr } = spawnSync(outrider, ['debug', 'bundle', '-o', file, ...data], {
    encoding: 'utf8',
    env: { ...process.env, DAPR_API_TOKEN: CANARY },
  })
  assert.equal(status, 0, stderr)
  execFileSync('tar', ['-xzf', file, '-C', home])
  const read = (name: string) => readFileSync(join(home, name), 'utf8')
  assert.equal((JSON.parse(read('metadata.json')) as { id: string }).id, 'bundled')
  assert.equal((JSON.parse(read('about.json')) as { appId: string }).appId, 'bundled')
  assert.match(read('metrics.txt'), /dapr_runtime_component_loaded\{app_id="bundled"\} 1/)
  assert.match(read('resources/web.yaml'), /value: \(hidden\)[\s\S]*value: \(hidden\)/)
  assert.match(read('resources/web.yaml'), /http:\/\/localhost:1/)
  assert.ok((JSON.parse(read('cpu.cpuprofile')) as { nodes: unknown[] }).nodes.length > 0)
  const all = execFileSync('tar', ['-xzOf', file]).toString('latin1')
  assert.ok(!all.includes(CANARY))
  assert.match(
    spawnSync(outrider, ['debug', 'bundle', '-a', 'nobody', ...data], { encoding: 'utf8' }).stderr,
    /give --app-id, one of bundled/,
  )
})
