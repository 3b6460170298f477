import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../errors.ts'
import type { RoleResource } from '../resources/role-kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import { pause } from '../waiting.ts'
import { joinedPages } from './pages.ts'
import { AgentPort, answer } from './port.ts'
import { ROLES } from './registry.ts'
import type { AgentRoute, Role, RoleComponents, RoleContext, SidecarApi } from './role.ts'

export type RoleState = 'initialising' | 'up' | 'retrying' | 'failed' | 'closed'

export interface RolesOptions {
  appId: string
  namespace: string
  log: Logger
  /** Each role has a folder of its own below it. */
  dataDir: string
  env: NodeJS.ProcessEnv
  components: RoleComponents
  api?: SidecarApi | undefined
  port: { host: string; port: number; socket?: string | undefined; token?: string | undefined }
  /** Told of each role's state, for health and metadata. */
  part(name: string, kind: string, state: RoleState, error?: unknown): void
  signal: AbortSignal
  /** Default: all there are. */
  kinds?: typeof ROLES
}

interface Slot {
  resource: RoleResource
  role: Role | undefined
  state: RoleState
  error: string | undefined
  /** The role has told that something is away, perhaps while it was opening. */
  away: boolean
  /** Ends the attempts to open it. */
  stop: AbortController
}

const FIRST_WAIT = 500
const LONGEST_WAIT = 30_000

/**
 * The roles of one process. Each is opened by itself: initialising → up, or → retrying, with growing waits, while it cannot open;
 * up ⇄ retrying as the role tells; → closed. One that does not come up keeps no other from it.
 */
export class Roles implements AsyncDisposable {
  readonly #options: RolesOptions
  readonly #slots = new Map<string, Slot>()
  readonly #attempts = new Set<Promise<void>>()
  #port: AgentPort | undefined
  #opening: Promise<AgentPort> | undefined

  constructor(options: RolesOptions) {
    this.#options = options
  }

  /** Opens all of them side by side; with `strict` rejects with the first that cannot open, else those are tried again later. */
  async start(resources: readonly RoleResource[], strict = false): Promise<void> {
    await Promise.all(resources.map((resource) => this.put(resource, strict)))
  }

  /** Of the agents' port; 0 while no role has asked for it. */
  get port(): number {
    return this.#port?.port ?? 0
  }

  /** Opens the agents' port whether or not a role asks for it. */
  async listen(): Promise<void> {
    await this.#openPort()
  }

  /** Brings a role in, in place of the one of its name. With `strict` rejects when it cannot open: what ran before goes on. */
  async put(resource: RoleResource, strict = false): Promise<void> {
    const key = keyOf(resource)
    const before = this.#slots.get(key)
    if (before?.role?.update) {
      await before.role.update(resource)
      before.resource = resource
      return
    }
    before?.stop.abort()
    await before?.role?.[Symbol.asyncDispose]()
    const slot: Slot = { resource, role: undefined, state: 'initialising', error: undefined, away: false, stop: new AbortController() }
    this.#slots.set(key, slot)
    this.#to(slot, 'initialising')
    try {
      await this.#open(slot)
    } catch (error) {
      if (strict) {
        this.#slots.delete(key)
        if (before?.role) {
          const again = { ...before, role: undefined, stop: new AbortController() }
          this.#slots.set(key, again)
          await this.#open(again).catch((failure: unknown) => this.#retryLater(again, failure))
        } else this.#to(slot, 'failed', error)
        throw error
      }
      this.#options.log.error(`${resource.kind} ${resource.name} cannot open: ${messageOf(error)}; it is tried again`)
      this.#retryLater(slot, error)
    }
  }

  /** Ends one. */
  async remove(resource: RoleResource): Promise<void> {
    const slot = this.#slots.get(keyOf(resource))
    if (!slot) return
    this.#slots.delete(keyOf(resource))
    slot.stop.abort()
    this.#port?.delete(keyOf(resource))
    await slot.role?.[Symbol.asyncDispose]()
    this.#to(slot, 'closed')
  }

  /** Families of all roles, in Prometheus's text format. */
  metrics(): string {
    return joinedPages([...this.#slots.values()].map(({ role }) => role?.metrics?.() ?? ''))
  }

  status(): Record<string, unknown>[] {
    return [...this.#slots.values()].map(({ resource, role, state, error }) => ({
      kind: resource.kind,
      name: resource.name,
      state,
      ...(error !== undefined && { error }),
      ...role?.status?.(),
    }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { stop } of this.#slots.values()) stop.abort()
    await Promise.all(this.#attempts)
    await Promise.all([...this.#slots.values()].map(({ role }) => role?.[Symbol.asyncDispose]()))
    await this.#port?.[Symbol.asyncDispose]()
    this.#slots.clear()
  }

  async #open(slot: Slot): Promise<void> {
    const { resource } = slot
    const { kind } = resource
    const load = (this.#options.kinds ?? ROLES)[kind]
    if (!load) throw new Error(`nothing serves resources of kind ${kind}`)
    slot.away = false
    const open = await load()
    const role = await open(resource, this.#context(slot))
    try {
      if (slot.stop.signal.aborted) throw new Error('it is no more wanted')
      if (role.routes) (await this.#openPort()).set(keyOf(resource), role.routes)
    } catch (error) {
      await role[Symbol.asyncDispose]()
      throw error
    }
    slot.role = role
    if (!slot.away) this.#to(slot, 'up')
  }

  #context(slot: Slot): RoleContext {
    const { appId, namespace, env, components, api, dataDir, signal } = this.#options
    const { kind, name } = slot.resource
    return {
      log: this.#options.log.scope(`outrider.${kind.toLowerCase()}.${name}`),
      appId,
      namespace,
      env,
      components,
      api,
      signal: AbortSignal.any([signal, slot.stop.signal]),
      dataDir() {
        const folder = join(dataDir, kind.toLowerCase(), name)
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        return folder
      },
      page: () => this.metrics(),
      report: (state, error) => {
        if (slot.stop.signal.aborted) return
        slot.away = state === 'retrying'
        // While it opens, up is for whoever opens it to say.
        if (!slot.role && state === 'up') return
        if (slot.state !== state || error !== undefined) this.#to(slot, state, error)
      },
    }
  }

  #retryLater(slot: Slot, error: unknown): void {
    this.#to(slot, 'retrying', error)
    const running = this.#retry(slot).finally(() => this.#attempts.delete(running))
    this.#attempts.add(running)
  }

  async #retry(slot: Slot): Promise<void> {
    const stop = AbortSignal.any([slot.stop.signal, this.#options.signal])
    for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      await pause(wait, stop)
      if (stop.aborted) return
      try {
        return await this.#open(slot)
      } catch (error) {
        this.#to(slot, 'retrying', error)
      }
    }
  }

  #to(slot: Slot, state: RoleState, error?: unknown): void {
    slot.state = state
    slot.error = error === undefined ? undefined : messageOf(error)
    this.#options.part(slot.resource.name, slot.resource.kind, state, error)
  }

  #openPort(): Promise<AgentPort> {
    this.#opening ??= (async () => {
      const { port, log } = this.#options
      const opened = new AgentPort({ ...port, log, fallback: this.#fallback() })
      try {
        await opened.open()
      } catch (error) {
        this.#opening = undefined
        throw error
      }
      this.#port = opened
      log.info(`the agents' port is ${port.host}:${opened.port}${port.socket ? ` and ${port.socket}` : ''}`)
      return opened
    })()
    return this.#opening
  }

  #fallback(): AgentRoute[] {
    const waiting = () => this.status().filter(({ state }) => state !== 'up')
    return [
      { methods: ['GET'], path: '/health', handle: ({ response }) => answer(response, 200, { status: 'ok' }) },
      {
        methods: ['GET'],
        path: '/ready',
        handle: ({ response }) => {
          const late = waiting()
          answer(response, late.length === 0 ? 200 : 503, { ready: late.length === 0, waiting: late })
        },
      },
      { methods: ['GET'], path: '/status', handle: ({ response }) => answer(response, 200, { roles: this.status() }) },
      {
        methods: ['GET'],
        path: '/metrics',
        handle: ({ response }) =>
          void response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(this.metrics()),
      },
    ]
  }
}

function keyOf({ kind, name }: RoleResource): string {
  return `${kind} ${name}`
}
