import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { HealthCheck } from '../model/cluster.ts'
import type { Attempt, AttemptSink } from './attempt.ts'
import type { ClusterRuntime } from './cluster.ts'
import { Host } from './host.ts'

/** Asks every endpoint again and again; so many answers of one kind in a row decide. */
export function startHealthChecks(cluster: ClusterRuntime, check: HealthCheck): Disposable {
  const runs = new Map<Host, { passed: number; failed: number; stop: AbortController }>()
  let closed = false
  const pass = () => {
    if (closed) return
    const known = new Set(cluster.hosts)
    for (const [host, { stop }] of runs) {
      if (known.has(host)) continue
      stop.abort()
      runs.delete(host)
    }
    for (const host of cluster.hosts) if (!runs.has(host)) follow(host)
  }
  const follow = (host: Host) => {
    const run = { passed: 0, failed: 0, stop: new AbortController() }
    runs.set(host, run)
    const { signal } = run.stop
    let first = true
    const again = async () => {
      if (signal.aborted) return
      const { figures } = cluster
      ;(figures.health_check_attempt as number)++
      const problem = await probe(cluster, host, check, signal).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      )
      if (signal.aborted) return
      if (problem === undefined) {
        ;(figures.health_check_success as number)++
        run.failed = 0
        run.passed++
        // The first answer decides by itself: nothing is known before it.
        if (host.health.failedCheck && (first || run.passed >= check.healthyThreshold)) change(host, false)
      } else {
        ;(figures.health_check_failure as number)++
        run.passed = 0
        run.failed++
        if (!host.health.failedCheck && (first || run.failed >= check.unhealthyThreshold)) change(host, true, problem)
        else if (check.alwaysLog) cluster.log.warn(`${cluster.model.name}: ${host.address} fails its health check: ${problem}`)
      }
      first = false
      setTimeout(() => void again(), check.interval + Math.random() * check.jitter).unref()
    }
    void again()
  }
  const change = (host: Host, failed: boolean, problem = '') => {
    host.health.failedCheck = failed
    const { name, closeOnFailure } = cluster.model
    if (failed) cluster.log.warn(`${name}: ${host.address} fails its health check: ${problem}`)
    else cluster.log.info(`${name}: ${host.address} passes its health check`)
    cluster.healthChanged()
    if (failed && closeOnFailure) void host[Symbol.asyncDispose]()
  }
  pass()
  const timer = setInterval(pass, Math.min(check.interval, 1000)).unref()
  return {
    [Symbol.dispose]() {
      closed = true
      clearInterval(timer)
      for (const { stop } of runs.values()) stop.abort()
    },
  }
}

/** One look; rejects with what is wrong. */
function probe(cluster: ClusterRuntime, host: Host, check: HealthCheck, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(check.timeout)])
  return check.kind === 'tcp' ? probeTcp(cluster, host, check, limit) : probeHttp(cluster, host, check, limit)
}

function probeTcp(cluster: ClusterRuntime, { endpoint }: Host, check: HealthCheck, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const at = endpoint.path === undefined ? { host: endpoint.host, port: endpoint.healthPort ?? endpoint.port } : { path: endpoint.path }
    const socket: Socket = cluster.tls ? connectTls({ ...at, ...cluster.tls }) : connect(at)
    const done = (error?: Error) => {
      signal.removeEventListener('abort', late)
      socket.destroy()
      if (error) reject(error)
      else resolve()
    }
    const late = () => done(new Error(`no answer within ${check.timeout} ms`))
    signal.addEventListener('abort', late, { once: true })
    const wanted = check.receive.map((hex) => Buffer.from(hex, 'hex'))
    let seen = Buffer.alloc(0)
    socket.once(cluster.tls ? 'secureConnect' : 'connect', () => {
      if (check.send !== undefined) socket.write(Buffer.from(check.send, 'hex'))
      if (wanted.length === 0) done()
    })
    socket.on('data', (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk])
      let at = 0
      for (const part of wanted) {
        const found = seen.indexOf(part, at)
        if (found < 0) return seen.length > 65_536 ? done(new Error('an unexpected answer')) : undefined
        at = found + part.length
      }
      done()
    })
    socket.on('error', done)
    socket.on('close', () => done(new Error('the connection was closed')))
  })
}

function probeHttp(cluster: ClusterRuntime, host: Host, check: HealthCheck, signal: AbortSignal): Promise<void> {
  const { healthPort } = host.endpoint
  const { model, tls } = cluster
  const asked = healthPort === undefined ? host : new Host(model, { ...host.endpoint, port: healthPort }, tls && (() => tls))
  const grpc = check.kind === 'grpc'
  return new Promise<void>((resolve, reject) => {
    let attempt: Attempt | undefined
    let problem: Error | undefined
    let body = Buffer.alloc(0)
    const late = () => {
      attempt?.abort()
      reject(new Error(`no answer within ${check.timeout} ms`))
    }
    signal.addEventListener('abort', late, { once: true })
    const sink: AttemptSink = {
      attemptHead(status) {
        if (!check.statuses.some(({ from, to }) => status >= from && status < to)) problem = new Error(`it answers ${status}`)
      },
      attemptData(chunk) {
        if (grpc && body.length < 1024) body = Buffer.concat([body, chunk])
      },
      attemptEnd() {
        signal.removeEventListener('abort', late)
        // HealthCheckResponse.status = SERVING: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
        if (grpc && !problem && !(body[5] === 8 && body[6] === 1)) problem = new Error('it does not say SERVING')
        if (problem) reject(problem)
        else resolve()
      },
      attemptFailed(_, error) {
        signal.removeEventListener('abort', late)
        reject(error)
      },
      attemptDrained() {},
    }
    const name = Buffer.from(check.grpcService)
    const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([10, name.length]), name])
    const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message])
    attempt = asked.send(
      {
        method: grpc ? 'POST' : 'GET',
        path: grpc ? '/grpc.health.v1.Health/Check' : check.path,
        scheme: tls ? 'https' : 'http',
        authority: check.host ?? host.endpoint.hostname ?? model.name,
        fields: grpc
          ? ['content-type', 'application/grpc', 'te', 'trailers', 'user-agent', 'Envoy/HC']
          : ['user-agent', 'Envoy/HC', ...check.headers],
        body: grpc ? framed : undefined,
        streams: false,
      },
      sink,
      grpc || check.http2,
    )
  }).finally(() => {
    if (asked !== host) void asked[Symbol.asyncDispose]()
  })
}
