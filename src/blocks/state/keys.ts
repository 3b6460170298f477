import { MetadataError } from '../../components/metadata.ts'
import type { Named } from '../../components/sets.ts'
import type { StateStore } from './driver.ts'

/** Separates the owner of a key from the key; therefore refused inside either. */
export const SEPARATOR = '||'

/**
 * What stands before every key of a store, separator included: Dapr's `keyPrefix` strategies
 * (`appid`, `name`, `namespace`, `none` or a literal, which is lower-cased). Throws MetadataError on `||` in a literal.
 */
export function keyPrefix(store: Named<StateStore>, appId: string, namespace: string): string {
  const strategy = (store.properties.keyprefix ?? '').toLowerCase()
  switch (strategy) {
    case '':
    case 'appid':
      return appId ? appId + SEPARATOR : ''
    case 'name':
      return store.name + SEPARATOR
    case 'namespace':
      return (namespace ? `${namespace}.${appId}` : appId) + SEPARATOR
    case 'none':
      return ''
    default:
      if (strategy.includes(SEPARATOR))
        throw new MetadataError(`state store ${store.name}: input key/keyPrefix '${strategy}' can't contain '${SEPARATOR}'`)
      return strategy + SEPARATOR
  }
}

/** The key as the app gave it. */
export function originalKey(stored: string): string {
  const parts = stored.split(SEPARATOR)
  return parts.length <= 1 ? stored : (parts[1] as string)
}

export interface KeysPage {
  keys: string[]
  /** Absent on the last page. */
  token?: string
}

/** Feature KEYS_LIKE: stored keys by SQL's LIKE (`%`, `_`, escape `\`). */
export interface ListsKeys {
  keysLike(pattern: string, page: { size?: number; token?: string }, signal?: AbortSignal): Promise<KeysPage>
}

/** Feature DELETE_WITH_PREFIX: deletes keys that start with the prefix and hold no further `||`; gives their number. */
export interface DeletesByPrefix {
  deleteWithPrefix(prefix: string, signal?: AbortSignal): Promise<number>
}

/** The store's keysLike when it has the feature. */
export function listsKeys(store: StateStore): (StateStore & ListsKeys) | undefined {
  return 'keysLike' in store ? (store as StateStore & ListsKeys) : undefined
}

/** The store's deleteWithPrefix when it has the feature. */
export function deletesByPrefix(store: StateStore): (StateStore & DeletesByPrefix) | undefined {
  return 'deleteWithPrefix' in store ? (store as StateStore & DeletesByPrefix) : undefined
}
