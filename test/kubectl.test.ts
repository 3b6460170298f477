import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { installation } from '../src/control/manifests/install.ts'
import { DEFAULT_VALUES } from '../src/control/manifests/manifest.ts'
import { startApiServer } from './kubernetes/api-server.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'outrider-kubectl-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const skip = spawnSync('sh', ['-c', 'command -v kubectl']).status !== 0 && 'needs kubectl: apt-get install kubernetes-client'

for (const together of [true, false])
  test(`kubectl applies every object of an installation, ${together ? 'one process' : 'a Deployment each'}, and finds them`, {
    skip,
  }, async () => {
    await using api = await startApiServer()
    // The stand-in has no OpenAPI; what its own reading of a manifest refuses kubectl refuses all the same.
    const kubectl = async (...words: string[]) => (await run('kubectl', [...words, '--kubeconfig', api.kubeconfig()])).stdout
    const values = { ...DEFAULT_VALUES, together }
    const path = join(folder, `${together}.yaml`)
    const objects = installation(values).flatMap((part) => part.objects)
    writeFileSync(path, objects.map((object) => stringify(object, { aliasDuplicateObjects: false })).join('---\n'))
    // The definitions first, as the docs have it: kubectl asks for all kinds before it applies one.
    const crds = join(import.meta.dirname, '../deploy/kubernetes/crds.yaml')
    await kubectl('apply', '--server-side', '--validate=false', '-f', crds)
    const applied = await kubectl('apply', '--server-side', '--validate=false', '-f', path)
    assert.equal(applied.match(/serverside-applied/g)?.length, objects.length)
    const names = await kubectl('-n', values.namespace, 'get', 'deployments,services', '-o', 'name')
    const deployments = together ? ['outrider-control'] : ['dapr-operator', 'dapr-sentry', 'dapr-sidecar-injector']
    assert.deepEqual([...names.matchAll(/^deployment\.apps\/(.*)$/gm)].map(([, name]) => name).sort(), deployments)
    assert.equal(names.match(/^service\//gm)?.length, 4)
  })
