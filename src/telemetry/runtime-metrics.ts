import type { LabelRules } from './label-rules.ts'
import { Counter, Histogram } from './labelled.ts'

/** What the runtime itself does: components, identity, access control, calls between sidecars. */
export class RuntimeMetrics {
  readonly #appId: string
  readonly #loaded: Counter
  readonly #initialised: Counter
  readonly #failed: Counter
  readonly #identity: Counter
  readonly #identityFailed: Counter
  readonly #rotated: Counter
  readonly #rotationFailed: Counter
  readonly #access: Readonly<Record<`${'app' | 'global'} ${'allowed' | 'blocked'}`, Counter>>
  readonly #requestsSent: Counter
  readonly #requestsReceived: Counter
  readonly #responsesSent: Counter
  readonly #responsesReceived: Counter
  readonly #latency: Histogram

  constructor(appId: string, latencies: readonly number[], rules: LabelRules | undefined) {
    this.#appId = appId
    const counter = (name: string, help: string, ...labels: string[]) =>
      new Counter(`dapr_runtime_${name}`, help, ['app_id', ...labels].sort(), rules)
    this.#loaded = counter('component_loaded', 'Components loaded.')
    this.#initialised = counter('component_init_total', 'Components initialised.', 'component')
    this.#failed = counter('component_init_fail_total', 'Components that failed to initialise.', 'component', 'componentName', 'reason')
    this.#identity = counter('mtls_init_total', 'Identities that mTLS began with.')
    this.#identityFailed = counter('mtls_init_fail_total', 'Identities that mTLS could not begin with.', 'reason')
    this.#rotated = counter('mtls_workload_cert_rotated_total', 'Certificates renewed.')
    this.#rotationFailed = counter('mtls_workload_cert_rotated_fail_total', 'Certificates that could not be renewed.', 'reason')
    const access = (scope: string, action: string) =>
      counter(
        `acl_${scope}_policy_action_${action}_total`,
        `Calls ${action} by the ${scope} action of access control.`,
        'namespace',
        'trustDomain',
      )
    this.#access = {
      'app allowed': access('app', 'allowed'),
      'app blocked': access('app', 'blocked'),
      'global allowed': access('global', 'allowed'),
      'global blocked': access('global', 'blocked'),
    }
    const invocation = (name: string, help: string, ...labels: string[]) => counter(`service_invocation_${name}`, help, ...labels)
    this.#requestsSent = invocation('req_sent_total', 'Requests sent to other apps.', 'dst_app_id', 'type')
    this.#requestsReceived = invocation('req_recv_total', 'Requests received from other apps.', 'src_app_id')
    this.#responsesSent = invocation('res_sent_total', 'Responses sent to other apps.', 'dst_app_id', 'status')
    this.#responsesReceived = invocation('res_recv_total', 'Responses received from other apps.', 'src_app_id', 'status', 'type')
    this.#latency = new Histogram(
      'dapr_runtime_service_invocation_res_recv_latency_ms',
      'Milliseconds of a call to another app.',
      ['app_id', 'src_app_id', 'status'],
      latencies,
      rules,
    )
  }

  componentLoaded(): void {
    this.#loaded.add(this.#appId)
  }

  /** `type`: e.g. `state.redis`. */
  componentInitialised(type: string): void {
    this.#initialised.add(this.#appId, type)
  }

  /** `reason`: `creation` or `init`. */
  componentFailed(type: string, name: string, reason: 'creation' | 'init'): void {
    this.#failed.add(this.#appId, type, name, reason)
  }

  identityReady(): void {
    this.#identity.add(this.#appId)
  }

  identityFailed(reason: string): void {
    this.#identityFailed.add(this.#appId, reason)
  }

  rotated(): void {
    this.#rotated.add(this.#appId)
  }

  rotationFailed(reason: string): void {
    this.#rotationFailed.add(this.#appId, reason)
  }

  /** Access control has decided on a caller, by an app's policy or by the global one. */
  accessDecided(scope: 'app' | 'global', allowed: boolean, caller: { appId: string; namespace: string; trustDomain: string }): void {
    this.#access[`${scope} ${allowed ? 'allowed' : 'blocked'}`].add(caller.appId, caller.namespace, caller.trustDomain)
  }

  /** A call to another app begins. */
  requestSent(appId: string, type: 'unary' | 'streaming'): void {
    this.#requestsSent.add(this.#appId, appId, type)
  }

  /** A call of another app begins. */
  requestReceived(appId: string): void {
    this.#requestsReceived.add(this.#appId, appId)
  }

  /** A call of another app is answered. */
  responseSent(appId: string, status: number): void {
    this.#responsesSent.add(this.#appId, appId, String(status))
  }

  /** A call to another app is answered; milliseconds, undefined for streams. */
  responseReceived(appId: string, status: number, type: 'unary' | 'streaming', elapsed: number | undefined): void {
    this.#responsesReceived.add(this.#appId, appId, String(status), type)
    if (elapsed !== undefined) this.#latency.series(this.#appId, appId, String(status)).record(elapsed)
  }

  *parts(): Generator<string> {
    const all = [
      ...Object.values(this.#access),
      this.#failed,
      this.#initialised,
      this.#loaded,
      this.#identityFailed,
      this.#identity,
      this.#rotationFailed,
      this.#rotated,
      this.#requestsReceived,
      this.#requestsSent,
      this.#latency,
      this.#responsesReceived,
      this.#responsesSent,
    ]
    for (const metric of all) yield* metric.parts()
  }
}
