import { setTimeout as pause } from 'node:timers/promises'
import type { Component } from '../components/component.ts'

const INTERVAL = 5000
const LOST_INTERVAL = 1000
/** Milliseconds a server has to answer. */
const PATIENCE = 3000

export interface WatchedComponent {
  name: string
  component: Component
  /** Whether its server was lost when it was asked last. */
  lost: boolean
  /** A call has just been told that the server is full. */
  refused?: Error | undefined
}

export interface ComponentWatchOptions {
  /** The components that run now. */
  running(): WatchedComponent[]
  /** A server does not answer; it is asked again at `next`. Told at each failed question. */
  lost(name: string, error: unknown, next: Date): void
  back(name: string): void
  signal: AbortSignal
  /** Milliseconds between questions to servers that answer, and to those that do not. Default 5 s and 1 s. */
  interval?: number
  lostInterval?: number
  /** Milliseconds a server has to answer. Default 3 s. */
  patience?: number
}

/**
 * Asks the servers behind components whether they are there, so that a loss is seen before a call fails by it. One missed
 * answer may be a busy moment; a server is lost after two. What a component does meanwhile is its driver's.
 */
export async function watchComponents(options: ComponentWatchOptions): Promise<void> {
  const { running, lost, back, signal } = options
  const { interval = INTERVAL, lostInterval = LOST_INTERVAL, patience = PATIENCE } = options
  const missed = new WeakMap<Component, number>()
  const asked = new WeakMap<Component, Promise<void>>()
  /** Waits no longer than the signal says, also for a driver that does not heed it; a question still open is not asked again. */
  const answer = (component: Component, limit: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const open = asked.get(component) ?? Promise.resolve(component.ping?.(limit)).finally(() => asked.delete(component))
      asked.set(component, open)
      open.then(resolve, reject)
      limit.addEventListener('abort', () => reject(new Error(`its server has not answered within ${patience} ms`)), { once: true })
    })
  const ask = async ({ name, component, lost: wasLost, refused }: WatchedComponent) => {
    try {
      await answer(component, AbortSignal.any([signal, AbortSignal.timeout(patience)]))
      missed.delete(component)
      if (refused) lost(name, refused, new Date(Date.now() + lostInterval))
      else if (wasLost) back(name)
    } catch (error) {
      if (signal.aborted) return
      const times = (missed.get(component) ?? 0) + 1
      missed.set(component, times)
      if (times > 1 || wasLost) lost(name, error, new Date(Date.now() + lostInterval))
    }
  }
  let full = 0
  while (!signal.aborted) {
    const components = running().filter(({ component }) => component.ping)
    // Those that are in doubt are asked at each step, the others now and then.
    const due = full <= 0 ? components : components.filter(({ component, lost: away }) => away || missed.has(component))
    if (full <= 0) full = interval
    await Promise.all(due.map(ask))
    const doubt = components.some(({ component, lost: away }) => away || missed.has(component))
    const step = doubt ? lostInterval : full
    full -= step
    await pause(step, undefined, { signal, ref: false }).catch(() => {})
  }
}
