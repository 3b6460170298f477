import { mkdirSync } from 'node:fs'
import type { App } from '../app/app.ts'
import type { Pipeline } from '../app/middleware/pipeline.ts'
import { type BindingsBlock, createBindingsBlock } from '../blocks/bindings/block.ts'
import { grpcBindingsApp } from '../blocks/bindings/grpc-app.ts'
import { type ConfigurationBlock, createConfigurationBlock } from '../blocks/configuration/block.ts'
import { type ConversationBlock, createConversationBlock } from '../blocks/conversation/block.ts'
import { type CryptoBlock, createCryptoBlock } from '../blocks/crypto/block.ts'
import { createInvokeBlock, type InvokeBlock } from '../blocks/invoke/block.ts'
import { createExternalServices, type ExternalServices } from '../blocks/invoke/external.ts'
import { createGrpcProxy, type GrpcProxy } from '../blocks/invoke/proxy.ts'
import { createLockBlock, type LockBlock } from '../blocks/lock/block.ts'
import { createOutbox } from '../blocks/outbox/outbox.ts'
import { createPubSubBlock, type PubSubBlock } from '../blocks/pubsub/block.ts'
import { createGrpcEventApp } from '../blocks/pubsub/grpc-event-app.ts'
import type { PubSubPolicies } from '../blocks/pubsub/policy-hook.ts'
import { createSecretsBlock, type SecretsBlock } from '../blocks/secrets/block.ts'
import { createStateBlock, type StateBlock } from '../blocks/state/state.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import { createPeerClient } from '../peers/client.ts'
import { identifiedResolver } from '../peers/identified-resolver.ts'
import type { Resolver } from '../peers/resolver.ts'
import { openResolver } from '../peers/resolver-registry.ts'
import type { Authorize } from '../policy/access-control.ts'
import type { ComponentKind } from '../policy/resiliency.ts'
import type { TrafficObserver } from '../policy/traffic/traffic.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { StoreAndForwardResource, SubscriptionResource, TrafficPolicyResource } from '../resources/kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Tracer } from '../telemetry/tracing/tracer.ts'
import { createGrpcClient } from '../transport/grpc/client.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import { type Counting, counted, counting, policed } from './around-components.ts'
import type { ComponentManager } from './component-manager.ts'
import { embeddedFile } from './embedded.ts'
import type { InFlight } from './in-flight.ts'
import type { Lifecycle } from './lifecycle.ts'
import { LiveForwarding } from './live-forwarding.ts'
import type { LiveResiliency } from './live-resiliency.ts'
import { LiveTraffic } from './live-traffic.ts'

export interface BlocksOptions {
  flags: DaprdFlags
  log: Logger
  manager: ComponentManager
  configuration: Configuration
  app: App | undefined
  /** NAMESPACE as it is. */
  namespace: string
  /** `component/property` → name of the secret it was read from. */
  secretProperties: ReadonlyMap<string, string>
  /** Pub/sub components whose topics carry the namespace. */
  namespaced: ReadonlySet<string>
  resiliency: LiveResiliency
  /** Our own policies; what they do is told to the observer. */
  traffic: { resources: readonly TrafficPolicyResource[]; observer: TrafficObserver }
  /** Which publishes are kept while their broker is away. */
  storeAndForwards: readonly StoreAndForwardResource[]
  lifecycle: Lifecycle
  /** Counts the calls to components. */
  inFlight: InFlight
  /** Middleware in front of the app and of services outside. */
  appPipeline: Pipeline | undefined
  /** With mTLS: how other sidecars are called. */
  identity?: WorkloadIdentity | undefined
  /** Whether other sidecars may make a call. */
  authorize?: Authorize | undefined
  metrics: Metrics
  /** Undefined: nobody traces. */
  tracer: Tracer | undefined
}

/** Every building block of one sidecar. */
export interface Blocks {
  state: StateBlock
  pubsub: PubSubBlock
  invoke: InvokeBlock
  external: ExternalServices
  proxy: GrpcProxy
  /** Our own policies around calls. */
  traffic: LiveTraffic
  bindings: BindingsBlock
  secrets: SecretsBlock
  configuration: ConfigurationBlock
  lock: LockBlock
  conversation: ConversationBlock
  crypto: CryptoBlock
  /** What keeps publishes for brokers that are away. */
  forwarding: LiveForwarding
  resolver: Resolver
  /** Makes the resources' subscriptions known, without starting them. */
  declareSubscriptions(declared: readonly SubscriptionResource[]): Promise<void>
  /** Starts what is declared, and what the app answers when it may be asked. */
  startSubscriptions(): Promise<void>
  /** Rejects when a subscription cannot be taken as its resource has it. */
  checkSubscription(declared: SubscriptionResource): Promise<void>
  /** A component of a block (`pubsub`, `state`, …) came, was replaced or went while the sidecar runs. */
  componentChanged(block: string, name: string): Promise<void>
  /** Ends what comes in from brokers and bindings; handlers under way finish. */
  stopIntake(): Promise<void>
  close(): Promise<void>
}

/** Puts the blocks together over the component manager's live sets. */
export async function createBlocks(options: BlocksOptions): Promise<Blocks> {
  const { flags, log, manager, configuration, resiliency, inFlight, lifecycle } = options
  const { components: metrics, runtime } = options.metrics
  const around = (kind: ComponentKind, over?: Counting) => inFlight.around(policed(resiliency, kind, 'outbound', over))
  const app = options.app?.wire === 'http' ? options.app.channel : undefined
  const { appId } = flags
  const namespace = options.namespace || 'default'
  const inCluster = flags.mode === 'kubernetes'
  // Pods are found by DNS and have no place of their own to write to.
  if (!inCluster) mkdirSync(flags.outriderDataDir, { recursive: true, mode: 0o700 })
  const found = await openResolver(configuration.nameResolution ?? (inCluster ? { component: 'kubernetes' } : undefined), {
    appId,
    namespace,
    registryFile: embeddedFile(flags.outriderDataDir),
    log: log.scope('dapr.runtime.nameresolution'),
  })
  const maxBodySize = Number.isFinite(flags.maxBodySize) ? flags.maxBodySize : Number.MAX_SAFE_INTEGER
  const { identity } = options
  const resolver = identity ? identifiedResolver(found) : found
  // As daprd: a link that is cut says nothing, and calls over it would wait for ever.
  const peerGrpc = createGrpcClient({ maxMessageSize: maxBodySize, tls: identity?.dial, keepalive: { interval: 10_000, timeout: 5000 } })
  if (identity) identity.onChange = () => peerGrpc.forget()
  const peers = createPeerClient({
    grpc: peerGrpc,
    appId,
    namespace,
    hostAddress: flags.environment.hostIp ?? '127.0.0.1',
  })
  const external = createExternalServices({ pipeline: options.appPipeline })
  const traffic = new LiveTraffic(resiliency, options.traffic.observer)
  await traffic.replace(options.traffic.resources)
  // Asked at each call: a reload may bring the first policies of apps.
  const policies = () => traffic.calls ?? (resiliency.coversApps ? resiliency : undefined)
  const pubsubPolicies: PubSubPolicies = {
    outbound: (name) => inFlight.runner(name, resiliency.component(name, 'Pubsub', 'outbound')),
    inbound: (name) => resiliency.component(name, 'Pubsub', 'inbound'),
  }
  const forwarding = new LiveForwarding({
    components: manager.set('pubsub'),
    properties: (name) => manager.spec(name)?.properties,
    appId,
    namespace: options.namespace,
    file: embeddedFile(flags.outriderDataDir),
    policies: pubsubPolicies,
    namespaceScoped: (name) => options.namespaced.has(name),
    metrics,
    observer: options.metrics.forwarding.of(appId),
    log,
  })
  options.metrics.forwarding.watch(appId, () => forwarding.waiting())
  await forwarding.replace(options.storeAndForwards)
  const askApp = !flags.disableInitEndpoints.includes('subscribe')
  const pubsub = createPubSubBlock({
    components: manager.set('pubsub'),
    appId,
    namespace: options.namespace,
    log,
    app,
    eventApp: options.app?.wire === 'grpc' ? createGrpcEventApp(options.app.channel, log.scope('dapr.runtime.pubsub')) : undefined,
    askApp,
    policies: pubsubPolicies,
    namespaceScoped: (name) => options.namespaced.has(name),
    onState: (name, detail, state, why) =>
      state === 'closed' ? lifecycle.forget('subscription', name) : lifecycle.part('subscription', name, detail, state, why),
    metrics,
    tracer: options.tracer,
    lines: forwarding.lines,
  })
  const outbox = createOutbox({
    stores: manager.set('state'),
    pubsubs: manager.set('pubsub'),
    publisher: pubsub,
    appId,
    namespace: options.namespace,
    log,
    namespaceScoped: (name) => options.namespaced.has(name),
  })
  const bindings = createBindingsBlock({
    components: manager.set('bindings'),
    app: options.app?.wire === 'grpc' ? grpcBindingsApp(options.app.channel) : app,
    log,
    optionsTimeout: flags.appBindingOptionsTimeoutMs,
    tracer: options.tracer,
    around: around('Binding'),
    inbound: policed(resiliency, 'Binding', 'inbound', (name, _, success, elapsed) => metrics.bindingEvent(name, success, elapsed)),
    onState: (name, detail, state, why) =>
      state === 'closed' ? lifecycle.forget('binding', name) : lifecycle.part('binding', name, detail, state, why),
  })
  const configurationBlock = createConfigurationBlock({
    stores: manager.set('configuration'),
    app,
    log,
    around: around('Configuration', counting(metrics, 'configuration')),
    inbound: policed(resiliency, 'Configuration', 'inbound'),
  })
  return {
    state: createStateBlock({
      stores: manager.set('state'),
      appId,
      namespace: options.namespace,
      publishOutbox: outbox.publish,
      around: around('Statestore', counting(metrics, 'state')),
      secretName: (store, property) => options.secretProperties.get(`${store}/${property.toLowerCase()}`),
    }),
    pubsub,
    invoke: createInvokeBlock({
      appId,
      namespace,
      app: options.app,
      peers,
      resolver,
      external,
      maxBodySize,
      get policies() {
        return policies()
      },
      get retry() {
        return resiliency.builtInServiceRetry
      },
      metrics: runtime,
    }),
    external,
    proxy: createGrpcProxy({
      appId,
      namespace,
      app: options.app,
      grpc: peerGrpc,
      resolver,
      maxMessageSize: maxBodySize,
      get policies() {
        return policies()
      },
      authorize: options.authorize,
      get inbound() {
        return traffic.inbound
      },
      metrics: runtime,
    }),
    traffic,
    bindings: {
      ...bindings,
      // Counted whole, as in Dapr: a name or an operation that is not there is a failure too.
      invoke: (name, request, signal) =>
        counted(counting(metrics, 'output_binding'), name, request.operation, () => bindings.invoke(name, request, signal)),
    },
    secrets: createSecretsBlock({
      stores: manager.set('secretstores'),
      scopes: configuration.secretScopes,
      around: around('Secretstore', counting(metrics, 'secret')),
    }),
    configuration: configurationBlock,
    lock: createLockBlock({ stores: manager.set('lock'), appId, around: around('Lock') }),
    conversation: createConversationBlock({
      components: manager.set('conversation'),
      around: around('Conversation', (name, _, success, elapsed) => metrics.conversed(name, success, elapsed)),
    }),
    crypto: createCryptoBlock({ components: manager.set('crypto'), around: around('Crypto', counting(metrics, 'crypto')) }),
    forwarding,
    resolver,
    declareSubscriptions: (declared) => pubsub.declare(declared.map(asManifest)),
    async startSubscriptions() {
      await pubsub.start()
      // The app's own subscriptions stand first: what waited in the outbox goes to them.
      await outbox.start()
    },
    checkSubscription: (declared) => pubsub.checkResource(asManifest(declared)),
    async componentChanged(block, name) {
      if (block === 'pubsub') await pubsub.refresh()
      if (block === 'pubsub' || block === 'state') await outbox.refresh()
      if (block === 'configuration') await configurationBlock.stop(name)
      if (block === 'bindings') await bindings.restartOne(name)
    },
    async stopIntake() {
      const ended = await Promise.allSettled([
        outbox[Symbol.asyncDispose](),
        pubsub[Symbol.asyncDispose](),
        bindings.stop(),
        configurationBlock.stop(),
      ])
      for (const result of ended) if (result.status === 'rejected') log.warn(`error while ending intake: ${messageOf(result.reason)}`)
    },
    async close() {
      await forwarding[Symbol.asyncDispose]()
      await resolver[Symbol.asyncDispose]()
      await external[Symbol.asyncDispose]()
      await peers[Symbol.asyncDispose]()
      await peerGrpc[Symbol.asyncDispose]()
    },
  }
}

/** A loaded Subscription as the v2alpha1 manifest that the pub/sub block reads. */
function asManifest(resource: SubscriptionResource) {
  const { pubsubname, topic, routes, metadata, deadLetterTopic, bulkSubscribe } = resource
  return {
    kind: 'Subscription',
    apiVersion: 'dapr.io/v2alpha1',
    metadata: { name: resource.name },
    scopes: resource.scopes,
    spec: { pubsubname, topic, routes, metadata, deadLetterTopic, bulkSubscribe },
  }
}
