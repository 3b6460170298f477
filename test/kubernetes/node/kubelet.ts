import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ApiServer } from '../api-server.ts'
import type { ApiObject } from '../store.ts'

export interface KubeletOptions {
  api: ApiServer
  /** PEM of the API server's certificate. */
  ca: string
  host: string
  port: number
  repository: string
  folder: string
  log(line: string): void
}

interface Probe {
  httpGet?: { path: string; port: number }
  tcpSocket?: { port: number }
  initialDelaySeconds?: number
  periodSeconds?: number
  timeoutSeconds?: number
}
interface Container {
  name: string
  command?: string[]
  args?: string[]
  env?: { name: string; value?: string; valueFrom?: { fieldRef?: { fieldPath: string }; secretKeyRef?: { name: string; key: string } } }[]
  volumeMounts?: { name: string; mountPath: string }[]
  securityContext?: { runAsUser?: number; readOnlyRootFilesystem?: boolean }
  readinessProbe?: Probe
  startupProbe?: Probe
}
interface Volume {
  name: string
  configMap?: { name: string; items?: { key: string; path: string }[] }
  emptyDir?: object
  projected?: { sources: { serviceAccountToken?: { audience?: string; path: string } }[] }
}

/** Runs pods as Kubernetes does: each container a process with exactly its command, environment, mounts, user and probes. */
export class Kubelet {
  readonly #options: KubeletOptions
  readonly #children = new Set<ChildProcess>()
  #stopped = false

  constructor(options: KubeletOptions) {
    this.#options = options
  }

  /** @param network Of the pod: its namespace and its address. */
  async run(pod: ApiObject, network: { namespace: string; address: string }): Promise<void> {
    const { api, log } = this.#options
    const { containers } = pod.spec as { containers: Container[] }
    const ready = new Map(containers.map(({ name }) => [name, false]))
    const publish = () => {
      const current = api.store.get('/pods', pod.metadata.namespace, pod.metadata.name)
      if (!current) return
      const containerStatuses = [...ready].map(([name, value]) => ({ name, ready: value }))
      const all = [...ready.values()].every(Boolean)
      const conditions = [{ type: 'Ready', status: all ? 'True' : 'False' }]
      const status = { phase: 'Running', podIP: network.address, containerStatuses, conditions }
      api.store.update('/pods', { ...current, status })
      log(`pod ${pod.metadata.name} ${[...ready.values()].filter(Boolean).length}/${ready.size}`)
    }
    publish()
    await Promise.all(
      containers.map(async (container) => {
        await this.#start(pod, container, network)
        const { startupProbe, readinessProbe } = container
        for (const probe of [startupProbe, readinessProbe]) if (probe) await this.#pass(probe, network.address)
        if (this.#stopped) return
        ready.set(container.name, true)
        publish()
      }),
    )
  }

  stop(): void {
    this.#stopped = true
    for (const child of this.#children) child.kill('SIGTERM')
  }

  async #start(pod: ApiObject, container: Container, network: { namespace: string; address: string }): Promise<void> {
    const { folder, repository, log, host, port } = this.#options
    const root = join(folder, `${pod.metadata.name}-${container.name}`)
    mkdirSync(root, { recursive: true })
    await this.#volumes(pod, container, `${root}.volumes`)
    const env: Record<string, string> = {
      PATH: '/image/bin:/usr/bin:/bin',
      HOME: '/',
      KUBERNETES_SERVICE_HOST: host,
      KUBERNETES_SERVICE_PORT: String(port),
      POD_DNS: host,
    }
    for (const { name, value, valueFrom } of container.env ?? []) {
      const path = valueFrom?.fieldRef?.fieldPath
      if (path === undefined) env[name] = value ?? ''
      else
        env[name] =
          path === 'status.podIP' ? network.address : String((pod.metadata as Record<string, unknown>)[path.slice('metadata.'.length)])
    }
    const { runAsUser = 65532, readOnlyRootFilesystem = false } = container.securityContext ?? {}
    // A container without a command runs its arguments: our image has no entrypoint.
    const command = [...(container.command ?? []), ...(container.args ?? [])]
    const script = join(import.meta.dirname, 'container.sh')
    const inside = [
      'unshare',
      '-m',
      '--propagation',
      'private',
      script,
      root,
      repository,
      String(runAsUser),
      String(readOnlyRootFilesystem),
    ]
    log(`start ${pod.metadata.name} ${container.name}: ${command.join(' ')}`)
    const child = spawn('ip', ['netns', 'exec', network.namespace, ...inside, ...command], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.add(child)
    child.once('exit', (code, signal) => {
      this.#children.delete(child)
      if (!this.#stopped) log(`exit ${pod.metadata.name} ${container.name}: ${code ?? signal}`)
    })
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        for (const line of chunk.toString().split('\n')) if (line !== '') log(`${pod.metadata.name}/${container.name} | ${line}`)
      })
  }

  async #volumes(pod: ApiObject, container: Container, folder: string): Promise<void> {
    const { api, ca } = this.#options
    const namespace = pod.metadata.namespace ?? 'default'
    const account = (pod.spec.serviceAccountName as string | undefined) ?? 'default'
    const mount = (path: string, files: Record<string, string>) => {
      const place = join(folder, path)
      mkdirSync(place, { recursive: true, mode: 0o777 })
      writeFileSync(join(place, '.volume'), '')
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(place, name)), { recursive: true })
        writeFileSync(join(place, name), text, { mode: 0o644 })
      }
    }
    const token = api.token(namespace, account, [], pod.metadata.name)
    mount('/var/run/secrets/kubernetes.io/serviceaccount', { token, namespace, 'ca.crt': ca })
    const volumes = (pod.spec.volumes ?? []) as Volume[]
    for (const { name, mountPath } of container.volumeMounts ?? []) {
      const volume = volumes.find((each) => each.name === name)
      if (!volume) throw new Error(`the pod ${pod.metadata.name} has no volume ${name}`)
      const files: Record<string, string> = {}
      for (const source of volume.projected?.sources ?? []) {
        const { audience, path } = source.serviceAccountToken ?? { path: '' }
        if (path !== '') files[path] = api.token(namespace, account, audience ? [audience] : [], pod.metadata.name)
      }
      if (volume.configMap) {
        const data = await this.#configMap(namespace, volume.configMap.name)
        const items = volume.configMap.items ?? Object.keys(data).map((key) => ({ key, path: key }))
        for (const { key, path } of items) files[path] = data[key] ?? ''
      }
      mount(mountPath, files)
    }
  }

  /** Pods wait for what they mount. */
  async #configMap(namespace: string, name: string): Promise<Record<string, string>> {
    for (;;) {
      const found = this.#options.api.store.get('/configmaps', namespace, name)
      if (found) return found.data as Record<string, string>
      await delay(50)
    }
  }

  async #pass({ httpGet, tcpSocket, initialDelaySeconds = 0, periodSeconds = 10, timeoutSeconds = 1 }: Probe, host: string): Promise<void> {
    await delay(initialDelaySeconds * 1000)
    while (!this.#stopped) {
      const good = await new Promise<boolean>((done) => {
        const settle = (value: boolean) => () => done(value)
        if (tcpSocket) {
          const socket = connect({ host, port: tcpSocket.port }, () => done(socket.destroy() !== undefined))
          socket.on('error', settle(false))
          return
        }
        const { path, port } = httpGet as { path: string; port: number }
        const request = get({ host, port, path, timeout: timeoutSeconds * 1000, agent: false }, (reply) => {
          reply.resume()
          done((reply.statusCode ?? 500) < 400)
        })
        request.on('timeout', () => request.destroy(new Error('timeout')))
        request.on('error', settle(false))
      })
      if (good) return
      await delay(periodSeconds * 1000)
    }
  }
}
