import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { stringify } from 'yaml'
import { installation } from '../src/control/manifests/install.ts'
import { DEFAULT_VALUES } from '../src/control/manifests/manifest.ts'
import { lacksNetwork, startNetwork } from './network/network.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'outrider-walk-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const PODS = ['sentry', 'operator', 'injector', 'first', 'second']

/** A cluster of one node with room for five pods, each in a network of its own. */
async function startCluster() {
  const network = await startNetwork(Object.fromEntries(['node', ...PODS].map((host) => [host, { delay: 0, loss: 0 }])))
  const slots = PODS.map((host) => ({ namespace: `o${process.pid}-${host}`, address: network.address(host) }))
  const config = JSON.stringify({ host: network.address('node'), slots })
  const node = network.spawn('node', process.execPath, [join(root, 'test/kubernetes/node/node.ts'), config], {
    stdio: ['pipe', 'pipe', 'inherit'],
  } as object)
  const lines: string[] = []
  const waiting = new Set<(line: string) => void>()
  const { stdin, stdout } = node
  assert.ok(stdin && stdout)
  createInterface({ input: stdout }).on('line', (line) => {
    lines.push(line)
    for (const tell of [...waiting]) tell(line)
  })
  const ended = new Promise<never>((_, reject) => node.once('exit', () => reject(new Error(`the node ended:\n${lines.join('\n')}`))))
  ended.catch(() => {})
  return {
    lines,
    /** Resolves with a line that matches, of those said already or to come. */
    said: (pattern: RegExp, patience = 60_000): Promise<string> => {
      const found = new Promise<string>((resolve, reject) => {
        const old = lines.find((line) => pattern.test(line))
        if (old !== undefined) return resolve(old)
        const timer = setTimeout(() => reject(new Error(`nobody said ${pattern}:\n${lines.slice(-60).join('\n')}`)), patience)
        const tell = (line: string) => {
          if (!pattern.test(line)) return
          clearTimeout(timer)
          waiting.delete(tell)
          resolve(line)
        }
        waiting.add(tell)
      })
      return Promise.race([found, ended])
    },
    tell: (line: string) => void stdin.write(`${line}\n`),
    async [Symbol.asyncDispose]() {
      const gone = new Promise<void>((resolve) => node.once('exit', () => resolve()))
      stdin.end()
      await gone
      await network[Symbol.asyncDispose]()
    },
  }
}

const lacking = lacksNetwork()

/** The manifests of an installation: those of the repository, or of another form of it. */
function manifests(together: boolean): string[] {
  const files = ['crds', 'outrider'].map((name) => join(root, `deploy/kubernetes/${name}.yaml`))
  if (together) return files
  const path = join(folder, 'separate.yaml')
  const objects = installation({ ...DEFAULT_VALUES, together }).flatMap((part) => (part.name === 'crds' ? [] : part.objects))
  writeFileSync(path, objects.map((object) => stringify(object, { aliasDuplicateObjects: false })).join('---\n'))
  return [files[0] as string, path]
}

for (const [form, together, programs] of [
  ['one process', true, ['outrider-control']],
  ['a Deployment for each program', false, ['dapr-sentry', 'dapr-operator', 'dapr-sidecar-injector']],
] as const)
  test(`from nothing to 2/2, ${form}: the manifests, then a Deployment with three annotations, then a call from pod to pod`, {
    skip: lacking && `no networks: ${lacking}`,
  }, async () => {
    await using cluster = await startCluster()
    await cluster.said(/^node is up/)
    for (const path of manifests(together)) cluster.tell(`apply ${path}`)
    for (const program of programs) await cluster.said(new RegExp(`^pod ${program}-1 1/1`))
    cluster.tell(`apply ${join(root, 'examples/kubernetes/orders.yaml')}`)
    await cluster.said(/^pod orders-1 2\/2/)
    await cluster.said(/^pod checkout-1 2\/2/)
    // The command line that the sidecar runs with is the one of the patch.
    const started = await cluster.said(/^start orders-1 daprd: /)
    assert.match(started, /^start orders-1 daprd: \/daprd --dapr-http-port 3500 .*--app-id orders .*--mode kubernetes .*--enable-mtls/)
    cluster.tell('call checkout-1 8080 /buy')
    assert.equal(await cluster.said(/^reply /), 'reply 200 {"order":1}')
    assert.deepEqual(
      cluster.lines.filter((line) => /^(error|exit|warning) /.test(line)),
      [],
    )
  })
