import type { Component } from '../components/component.ts'
import type { ComponentSet, Named } from '../components/sets.ts'
import { messageOf } from '../errors.ts'
import type { PartState } from './lifecycle.ts'

export interface ComponentStatus {
  name: string
  type: string
  version: string
  state: PartState
  /** Whether it can be used; it stays so when its server is lost. */
  loaded: boolean
  capabilities: readonly string[]
  /** Why it is not up. */
  error?: string
  /** When its server was first seen away. */
  since?: Date
  /** When it is tried again. */
  nextAttempt?: Date
}

/** A component that cannot be used as its resource has it. At start it ends the sidecar. */
export class ComponentInitError extends Error {
  override readonly name = 'ComponentInitError'
}

/** In daprd's words, which are nested twice in what ends the process. */
export function initFailure(name: string, title: string, error: unknown): { told: string; thrown: ComponentInitError } {
  const reason = messageOf(error)
  const failed = `[INIT_COMPONENT_FAILURE]: initialization error occurred for ${title}: `
  const known = reason.startsWith('incorrect type')
  const told = known ? reason : failed + reason
  return { told, thrown: new ComponentInitError(`process component ${name} error: ${known ? told : failed + told}`, { cause: error }) }
}

/** What a component's status says from now on; without an error there is none any more. */
export function enterState(status: ComponentStatus, state: PartState, error: unknown, nextAttempt: Date | undefined): void {
  status.state = state
  if (error === undefined) {
    delete status.error
    delete status.since
  } else status.error = messageOf(error)
  if (nextAttempt) status.nextAttempt = nextAttempt
  else delete status.nextAttempt
}

/** The components of one block that are up, and why others are not. */
export class BlockSet extends Map<string, Named<Component>> implements ComponentSet<Component> {
  readonly waiting: (name: string) => string | undefined
  constructor(waiting: (name: string) => string | undefined) {
    super()
    this.waiting = waiting
  }
}
