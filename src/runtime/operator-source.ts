import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import { readConfigurations } from '../resources/configuration.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Resources } from '../resources/kinds.ts'
import { readDocuments } from '../resources/load.ts'
import { OperatorClient } from '../resources/operator/client.ts'
import { manifestOf, ownManifestOf } from '../resources/operator/manifest.ts'
import { type FollowedName, followedKind, OPERATOR_KINDS, OWN_GROUP } from '../resources/operator/messages.ts'
import type { Logger } from '../telemetry/log.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import { NewLines } from './new-lines.ts'
import type { ResourceSource } from './resource-source.ts'

type Listed = Exclude<FollowedName, 'Configuration'>
const LISTED = [...Object.keys(OPERATOR_KINDS).filter((name) => name !== 'Configuration'), OWN_GROUP] as Listed[]

/** Documents that are kept; a namespace with more has more than a sidecar can use. */
const MOST = 10_000

/**
 * The resources that a cluster's operator gives: listed once, then kept up to date by its streams. Each time a stream stands
 * anew its kind is listed again, for what happened in between nobody tells.
 */
export class OperatorSource implements ResourceSource {
  readonly #flags: DaprdFlags
  readonly #log: Logger
  readonly #client: OperatorClient
  readonly #lines = new NewLines()
  readonly #stop = new AbortController()
  /** JSON texts by the name of the resource, of our own kinds with the kind before it. */
  readonly #known = new Map<Listed, Map<string, string>>()

  constructor(flags: DaprdFlags, identity: WorkloadIdentity, log: Logger) {
    const { controlPlaneAddress, controlPlaneTrustDomain, controlPlaneNamespace } = flags
    if (!controlPlaneAddress)
      throw new Error(
        'mode kubernetes needs the address of the operator; give --control-plane-address HOST:PORT, or run with --mode standalone',
      )
    this.#flags = flags
    this.#log = log.scope('dapr.runtime.operator')
    this.#client = new OperatorClient({
      address: controlPlaneAddress,
      namespace: this.#namespace,
      tls: identity.dialExactly(`spiffe://${controlPlaneTrustDomain}/ns/${controlPlaneNamespace}/dapr-operator`),
      log: this.#log,
    })
  }

  async configuration(): Promise<Configuration> {
    const texts: { file: string; text: string }[] = []
    for (const name of this.#flags.config) {
      const found = await this.#client.configuration(name, this.#stop.signal)
      if (found === undefined)
        this.#log.warn(
          `there is no Configuration ${name} in namespace ${this.#namespace}: the defaults count; create it, or correct dapr.io/config`,
        )
      else
        texts.push({ file: placeOf('Configuration', name), text: JSON.stringify(manifestOf('Configuration', 'dapr.io/v1alpha1', found)) })
    }
    return readConfigurations(texts)
  }

  async read(): Promise<Resources> {
    await Promise.all(LISTED.filter((kind) => !this.#known.has(kind)).map((kind) => this.#list(kind)))
    const documents = LISTED.flatMap((kind) =>
      [...(this.#known.get(kind) ?? [])].map(([name, text]) => ({ file: placeOf(kind, name), text })),
    )
    const { appId } = this.#flags
    return readDocuments(documents, { appId, namespace: this.#namespace, log: this.#lines.logger(this.#log) })
  }

  async refresh(): Promise<void> {
    await Promise.all(LISTED.map((kind) => this.#list(kind)))
  }

  watch(changed: { resources(): void; configuration(): void }): Disposable {
    const log = this.#log
    const streams = LISTED.map((kind) => {
      let opened = false
      log.info(`Starting to watch ${kind} updates`)
      return this.#client.watch(kind, {
        onOpen: () => {
          // The first list is fresh, but for what happened since.
          if (opened) log.debug(`${kind} updates are followed again`)
          opened = true
          void this.#list(kind)
            .then(changed.resources)
            .catch((error: unknown) => {
              if (!this.#stop.signal.aborted) log.warn(messageOf(error))
            })
        },
        onEvent: (type, resource) => {
          if (this.#take(kind, type, resource)) changed.resources()
        },
      })
    })
    if (this.#flags.config.length > 0) {
      log.info('Starting to watch Configuration updates for SIGHUP reload')
      streams.push(this.#client.watch('Configuration', { onOpen: changed.configuration, onEvent: changed.configuration }))
    }
    return {
      [Symbol.dispose]() {
        for (const stream of streams) stream[Symbol.dispose]()
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#client[Symbol.asyncDispose]()
  }

  get #namespace(): string {
    return this.#flags.environment.namespace || 'default'
  }

  async #list(kind: Listed): Promise<void> {
    const found = await this.#client.list(kind, this.#stop.signal)
    const fresh = new Map<string, string>()
    for (const resource of found.slice(0, MOST)) {
      const name = nameOf(kind, resource)
      if (name) fresh.set(name, textOf(kind, resource))
    }
    this.#known.set(kind, fresh)
  }

  /** False when it changes nothing. */
  #take(kind: Listed, type: 'put' | 'delete', resource: unknown): boolean {
    const known = this.#known.get(kind)
    const name = nameOf(kind, resource)
    if (!known || !name) return false
    if (type === 'delete') return known.delete(name)
    const text = textOf(kind, resource)
    if (known.get(name) === text) {
      this.#log.debug(`${kind} update skipped: no changes detected: ${name}`)
      return false
    }
    if (!known.has(name) && known.size >= MOST) {
      this.#log.warn(`${kind} ${name} is left out: ${MOST} are kept already`)
      return false
    }
    known.set(name, text)
    return true
  }
}

function nameOf(kind: Listed, resource: unknown): string | undefined {
  const { kind: own, metadata } = (resource ?? {}) as { kind?: string; metadata?: { name?: string } }
  return kind === OWN_GROUP && metadata?.name ? `${own}/${metadata.name}` : metadata?.name
}

function textOf(kind: Listed, resource: unknown): string {
  return JSON.stringify(kind === OWN_GROUP ? ownManifestOf(resource) : manifestOf(kind, followedKind(kind).apiVersion, resource))
}

/** Where a resource is said to stand, in messages. */
function placeOf(kind: string, name: string): string {
  return `operator/${kind}/${name}`
}
