import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseAllDocuments } from 'yaml'
import { startApiServer } from '../api-server.ts'
import type { User } from '../rbac.ts'
import type { ApiObject } from '../store.ts'
import { startDns } from './dns.ts'
import { Kubelet } from './kubelet.ts'

// One node of a cluster with its API server, in a network of its own: `node node.ts CONFIG`. Applies what its input names
// (`apply PATH`), calls what it names (`call POD PORT PATH`), and says on its output what happens.
interface Config {
  host: string
  /** Network namespaces for pods. */
  slots: { namespace: string; address: string }[]
}
const config = JSON.parse(process.argv[2] ?? '{}') as Config
const say = (line: string) => void process.stdout.write(`${line}\n`)
const folder = mkdtempSync(join(tmpdir(), 'outrider-node-'))
const CONTROLLER: User = { username: 'system:serviceaccount:kube-system:replicaset-controller', groups: ['system:authenticated'] }
const PORT = 6443

const podOf = (selector: Record<string, string>, namespace: string, ready: boolean) =>
  api.store
    .list('/pods')
    .filter(({ metadata }) => metadata.namespace === namespace)
    .filter(({ metadata }) => Object.entries(selector).every(([key, value]) => metadata.labels?.[key] === value))
    .filter(({ status }) => status?.podIP && (!ready || status.conditions[0].status === 'True'))
const serviceNamed = (namespace: string, name: string) => api.store.get('/services', namespace, name)
const api = await startApiServer({
  host: config.host,
  port: PORT,
  // An API server calls webhooks by their Service.
  resolve(namespace, name, port) {
    const service = serviceNamed(namespace, name)
    const [pod] = service ? podOf(service.spec.selector, namespace, true) : []
    const entry = (service?.spec.ports as { port: number; targetPort: number }[] | undefined)?.find((each) => each.port === port)
    return pod && entry ? { host: pod.status.podIP, port: entry.targetPort } : undefined
  },
})
const kubelet = new Kubelet({
  api,
  ca: api.ca,
  host: config.host,
  port: PORT,
  repository: join(import.meta.dirname, '../../..'),
  folder,
  log: say,
})

/** Addresses of Services, by namespace and name; headless ones have those of their pods. */
const addresses = new Map<string, string>()
let lastAddress = 100
function serve(service: ApiObject): void {
  const { name, namespace = '' } = service.metadata
  const key = `${namespace}/${name}`
  if (service.spec.clusterIP === 'None' || addresses.has(key)) return
  const address = `${config.host.split('.').slice(0, 3).join('.')}.${++lastAddress}`
  execFileSync('ip', ['addr', 'add', `${address}/24`, 'dev', 'eth0'])
  addresses.set(key, address)
  for (const { port, targetPort } of service.spec.ports as { port: number; targetPort: number }[]) {
    const proxy = createServer((socket) => {
      const [pod] = podOf(service.spec.selector, namespace, true)
      if (!pod) return void socket.destroy()
      const onward = connect(targetPort, pod.status.podIP)
      for (const each of [socket, onward]) each.on('error', () => [socket, onward].map((end) => end.destroy()))
      socket.pipe(onward).pipe(socket)
    })
    proxy.listen(port, address)
  }
}
await startDns(config.host, (name) => {
  const [, service = '', namespace = ''] = /^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?$/.exec(name) ?? []
  const found = service === '' ? undefined : serviceNamed(namespace, service)
  if (!found) return []
  const address = addresses.get(`${namespace}/${service}`)
  return address ? [address] : podOf(found.spec.selector, namespace, true).map(({ status }) => status.podIP as string)
})

api.store.follow(api.store.version, ({ type, collection, object }) => {
  if (type !== 'ADDED') return
  if (collection === '/services') serve(object)
  // What the controllers of Kubernetes do, without the ReplicaSet between.
  if (collection === 'apps/deployments') void replicate(object).catch((error: Error) => say(`error ${error.message}`))
})
async function replicate(deployment: ApiObject): Promise<void> {
  const { metadata, spec } = deployment.spec.template
  const name = `${deployment.metadata.name}-1`
  const namespace = deployment.metadata.namespace as string
  const account = { serviceAccountName: 'default', ...spec }
  const made = await api.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name, namespace }, spec: account }, CONTROLLER)
  for (const warning of made.warnings) say(`warning ${warning}`)
  const slot = config.slots.shift()
  if (!slot) throw new Error('no network is left for another pod')
  await kubelet.run(made.object, slot)
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [verb, ...words] = line.split(' ')
    if (verb === 'apply') void apply(words[0] as string).catch((error: Error) => say(`error ${error.message}`))
    if (verb === 'call') call(words[0] as string, Number(words[1]), words[2] as string)
  })
  .on('close', () => {
    kubelet.stop()
    setTimeout(() => {
      rmSync(folder, { recursive: true, force: true })
      process.exit()
    }, 500)
  })

async function apply(path: string): Promise<void> {
  for (const document of parseAllDocuments(readFileSync(path, 'utf8'))) {
    const object = document.toJS() as ApiObject | null
    if (object) await api.apply(object)
  }
  say(`applied ${path}`)
}
function call(pod: string, port: number, path: string): void {
  const { podIP } = api.store.get('/pods', 'default', pod)?.status ?? {}
  get({ host: podIP, port, path, agent: false }, (reply) => {
    let text = ''
    reply.on('data', (chunk: Buffer) => (text += chunk.toString()))
    reply.on('end', () => say(`reply ${reply.statusCode} ${text}`))
  }).on('error', (error) => say(`error ${error.message}`))
}
say('node is up')
