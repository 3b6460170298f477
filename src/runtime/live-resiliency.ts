import type { Resiliency } from '../policy/resiliency.ts'

/** The policies there are now: those of a reload take the place of the ones before for every call that begins then. */
export class LiveResiliency implements Pick<Resiliency, 'app' | 'hasApp' | 'component' | 'coversApps' | 'builtInServiceRetry'> {
  #current: Resiliency

  constructor(current: Resiliency) {
    this.#current = current
  }

  replace(next: Resiliency): void {
    this.#current = next
  }

  get coversApps(): boolean {
    return this.#current.coversApps
  }

  get builtInServiceRetry(): Resiliency['builtInServiceRetry'] {
    return this.#current.builtInServiceRetry
  }

  hasApp(appId: string): boolean {
    return this.#current.hasApp(appId)
  }

  app(...given: Parameters<Resiliency['app']>): ReturnType<Resiliency['app']> {
    return this.#current.app(...given)
  }

  component(...given: Parameters<Resiliency['component']>): ReturnType<Resiliency['component']> {
    return this.#current.component(...given)
  }
}
