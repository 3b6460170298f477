import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:https'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { OPERATOR_KINDS, type OperatorKind } from '../src/resources/operator/messages.ts'
import { createGrpcClient, type GrpcClient } from '../src/transport/grpc/client.ts'
import { frame } from '../src/transport/grpc/frames.ts'
import { NAMESPACE, programEnvironment, startCluster, startClusterAuthority } from '../test/kubernetes/control-plane.ts'
import { cpuSeconds, end, freePort, memoryOf, untilListening } from './processes.ts'

/**
 * node bench/kubernetes.ts [--seconds 20] [--rate 50] [--pods 1000] [--originals DIR]
 * The programs of the control plane, ours in one process and each by itself, against a stand-in of the API server: how long an admission takes at so many pods a second; what
 * an operator with so many sidecars weighs, and how long a change takes to all of them; what both weigh idle. With the folder of
 * Dapr's injector and operator the same of these. Linux only.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    rate: { type: 'string', default: '50' },
    pods: { type: 'string', default: '1000' },
    originals: { type: 'string' },
  },
})
const [seconds, rate, pods] = [Number(values.seconds), Number(values.rate), Number(values.pods)]
await using api = await startCluster()
await using authority = await startClusterAuthority(api)
api.store.create('admissionregistration.k8s.io/mutatingwebhookconfigurations', {
  metadata: { name: 'dapr-sidecar-injector' },
  webhooks: [{ name: 'sidecar-injector.dapr.io', clientConfig: { service: { namespace: NAMESPACE, name: 'dapr-sidecar-injector' } } }],
})
// The operator of Dapr will not start without them.
for (const account of [
  'replicaset-controller',
  'replication-controller',
  'deployment-controller',
  'cronjob-controller',
  'job-controller',
  'statefulset-controller',
  'daemon-set-controller',
])
  api.store.create('/serviceaccounts', { metadata: { name: account, namespace: 'kube-system' } })

const ours = (program: string) => join(import.meta.dirname, '../bin', `outrider-${program}`)
const subjects = [
  { name: 'outrider', path: ours },
  ...(values.originals ? [{ name: 'dapr', path: (program: string) => join(values.originals as string, program) }] : []),
]

interface Started {
  child: ChildProcess
  pid: number
  /** Of the program; of all programs in one process the operator's. */
  port: number
  injector: number
}

async function start(program: 'injector' | 'operator' | 'control', path: string): Promise<Started> {
  const [port = 0, health, metrics, webhook, injector = 0, sentry] = await Promise.all(Array.from({ length: 6 }, freePort))
  const ports =
    program === 'control' ? [`-operator-port=${port}`, `-injector-port=${injector}`, `-sentry-port=${sentry}`] : [`-port=${port}`]
  const argv = [...ports, '-listen-address=127.0.0.1', `-healthz-port=${health}`, '-healthz-listen-address=127.0.0.1']
  argv.push(`-metrics-port=${metrics}`, '-metrics-listen-address=127.0.0.1', `-kubeconfig=${api.kubeconfig()}`, '-log-level=warn')
  if (program !== 'injector')
    argv.push(`-trust-anchors-file=${authority.anchorsFile}`, `-webhook-server-port=${webhook}`, '-disable-leader-election=true')
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    KUBERNETES_SERVICE_HOST: 'anything',
    SIDECAR_IMAGE: 'outrider',
    DAPR_TRUST_ANCHORS_FILE: authority.anchorsFile,
    DAPR_CONTROL_PLANE_TRUST_DOMAIN: 'cluster.local',
    DAPR_SENTRY_ADDRESS: authority.address,
    KUBE_CLUSTER_DOMAIN: 'cluster.local',
    ENABLE_WEBHOOKS: 'false',
    DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK: 'true',
    ...programEnvironment(authority, program === 'control' ? 'operator' : program),
  }
  const child = spawn(path, argv, { env, stdio: ['ignore', 'inherit', 'inherit'] })
  await untilListening(port)
  return { child, pid: child.pid as number, port, injector: program === 'control' ? injector : port }
}

async function admissions(port: number): Promise<{ p50: number; p99: number; most: number; failed: number }> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8, ca: authority.anchors, servername: `dapr-sidecar-injector.${NAMESPACE}.svc` })
  const times: number[] = []
  let failed = 0
  const one = () =>
    new Promise<void>((done) => {
      const annotations = { 'dapr.io/enabled': 'true', 'dapr.io/app-id': 'orders', 'dapr.io/app-port': '8080' }
      const object = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'orders', namespace: 'default', annotations },
        spec: { containers: [{ name: 'app', image: 'app' }], volumes: [{ name: 'v', emptyDir: {} }] },
      }
      const body = JSON.stringify({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        request: {
          uid: randomUUID(),
          kind: { group: '', version: 'v1', kind: 'Pod' },
          resource: { group: '', version: 'v1', resource: 'pods' },
          namespace: 'default',
          operation: 'CREATE',
          userInfo: { username: 'admin', groups: ['system:masters'] },
          object,
        },
      })
      const began = performance.now()
      const call = request(
        { host: '127.0.0.1', port, path: '/mutate', method: 'POST', agent, headers: { 'content-type': 'application/json' } },
        (reply) => {
          const chunks: Buffer[] = []
          reply.on('data', (chunk: Buffer) => chunks.push(chunk))
          reply.on('end', () => {
            times.push(performance.now() - began)
            const { response } = JSON.parse(Buffer.concat(chunks).toString()) as { response: { allowed: boolean; patch?: string } }
            if (!response.allowed || !response.patch) failed++
            done()
          })
        },
      )
      call.on('error', () => done(void failed++))
      call.end(body)
    })
  for (let index = 0; index < 50; index++) await one()
  times.length = 0
  const calls: Promise<void>[] = []
  const began = performance.now()
  for (let index = 0; index < seconds * rate; index++) {
    await delay(Math.max(0, began + (index * 1000) / rate - performance.now()))
    calls.push(one())
  }
  await Promise.all(calls)
  agent.destroy()
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99), most: at(1), failed }
}

/** Opens all streams of so many sidecars; resolves with how long a change took to the last of them, three times. */
async function changes(port: number): Promise<{ opened: number; took: number[]; cpu: number } & AsyncDisposable> {
  const identity = await authority.identity('default', `app-${port}`)
  const clients: GrpcClient[] = []
  const { list } = OPERATOR_KINDS.Component as OperatorKind
  const address = `127.0.0.1:${port}/ns/${NAMESPACE}/dapr-operator`
  let told = 0
  let all = Promise.withResolvers<void>()
  const began = performance.now()
  for (let index = 0; index < pods; index++) {
    const client = createGrpcClient({ tls: identity.dial, idleTimeout: 0, connectTimeout: 60_000 })
    clients.push(client)
    for (const { updates } of Object.values(OPERATOR_KINDS) as OperatorKind[])
      client
        .stream(address, updates.path, {}, { onMessage: () => ++told === pods && all.resolve(), onClose: () => {} })
        .end(frame(updates.request.encode({ namespace: 'default' })))
    // As pods start: not all in one moment.
    if (index % 50 === 49)
      await client.unary(address, list?.path ?? '', list?.request.encode({ namespace: 'default' }) ?? Buffer.alloc(0), { timeout: 60_000 })
  }
  await Promise.all(
    clients.map((client) =>
      client.unary(address, list?.path ?? '', list?.request.encode({ namespace: 'default' }) ?? Buffer.alloc(0), { timeout: 60_000 }),
    ),
  )
  const opened = performance.now() - began
  const took: number[] = []
  for (let round = 0; round < 3; round++) {
    told = 0
    all = Promise.withResolvers()
    const start = performance.now()
    await api.apply({
      apiVersion: 'dapr.io/v1alpha1',
      kind: 'Component',
      metadata: { name: 'store', namespace: 'default' },
      spec: { type: 'state.in-memory', version: 'v1', metadata: [{ name: 'round', value: `${port}-${round}` }] },
    })
    await Promise.race([all.promise, delay(20_000)])
    took.push(told >= pods ? performance.now() - start : Number.POSITIVE_INFINITY)
  }
  return {
    opened,
    took,
    cpu: 0,
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()))
      identity[Symbol.dispose]()
    },
  }
}

console.log(`${cpus().length} cores (${cpus()[0]?.model}), load average ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`)
const shown = (pid: number) => `${memoryOf(pid).rss.toFixed(0)} MiB`
async function admit(name: string, { pid, injector }: Started): Promise<void> {
  const idle = shown(pid)
  const before = cpuSeconds(pid)
  const { p50, p99, most, failed } = await admissions(injector)
  const cpu = ((cpuSeconds(pid) - before) / (seconds * rate + 50)) * 1000
  console.log(
    `${name}: idle ${idle}; ${rate} pods/s for ${seconds} s: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, most ${most.toFixed(1)} ms, failed ${failed}, CPU ${cpu.toFixed(1)} ms each; then ${shown(pid)}; load ${loadavg()[0]?.toFixed(1)}`,
  )
}
async function watch(name: string, { pid, port }: Started): Promise<void> {
  const quiet = shown(pid)
  const { took, opened, ...rest } = await changes(port)
  const busy = shown(pid)
  await delay(5000)
  console.log(
    `${name}: before ${quiet}; ${pods} sidecars (7 streams each) in ${(opened / 1000).toFixed(1)} s: ${busy}, five seconds later ${shown(pid)}; a change at all of them after ${took.map((each) => each.toFixed(0)).join(', ')} ms; load ${loadavg()[0]?.toFixed(1)}`,
  )
  await rest[Symbol.asyncDispose]()
}

const together = await start('control', ours('control'))
await delay(3000)
await admit('outrider  control (authority, operator, injector)', together)
await watch('outrider  control (authority, operator, injector)', together)
await end(together.child)
for (const { name, path } of subjects) {
  const injector = await start('injector', path('injector'))
  await delay(3000)
  await admit(`${name.padEnd(9)} injector`, injector)
  await end(injector.child)
  const operator = await start('operator', path('operator'))
  await delay(3000)
  await watch(`${name.padEnd(9)} operator`, operator)
  await end(operator.child)
}
