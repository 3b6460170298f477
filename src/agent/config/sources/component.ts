import type { ConfigurationStore } from '../../../blocks/configuration/driver.ts'
import { milliseconds } from '../../../resources/agent-schema.ts'
import { pause } from '../../../waiting.ts'
import { entriesOf, type OpenSource } from '../source.ts'

/** A configuration component: subscribed to where it takes that, and read every so often besides. */
export const openComponent: OpenSource = (spec, { components, log }) => {
  const { name, keys = [], prefix = '', metadata = {} } = spec.component ?? { name: '' }
  let followed: { store: ConfigurationStore; subscription: AsyncDisposable } | undefined
  let refused: ConfigurationStore | undefined
  let changed = false
  let heard: (() => void) | undefined

  const ended = async () => {
    try {
      await followed?.subscription[Symbol.asyncDispose]()
    } catch {
      // Its component may have gone before it.
    }
    followed = undefined
  }
  const follow = async (store: ConfigurationStore) => {
    if (followed?.store === store || refused === store) return
    await ended()
    try {
      const subscription = await store.subscribe(keys, metadata, async () => {
        changed = true
        heard?.()
      })
      followed = { store, subscription }
    } catch (error) {
      refused = store
      log.info(`configuration component ${name} cannot be subscribed to (${String(error)}); it is read every ${spec.interval ?? '5s'}`)
    }
  }
  return {
    what: `configuration component ${name}`,
    async read(signal) {
      const store = components.configurationStore(name)
      await follow(store)
      changed = false
      const items = await store.get(keys, metadata, signal)
      const pairs = Object.entries(items)
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, { value }]) => [key.slice(prefix.length), value] as const)
      return entriesOf(pairs, spec)
    },
    async wait(signal) {
      if (changed) return
      const stop = new AbortController()
      heard = () => stop.abort()
      await pause(milliseconds(spec.interval, '5s'), AbortSignal.any([signal, stop.signal]))
      heard = undefined
    },
    [Symbol.asyncDispose]: ended,
  }
}
