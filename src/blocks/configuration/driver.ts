import type { Component } from '../../components/component.ts'

export interface ConfigurationItem {
  value: string
  version: string
  metadata: Record<string, string>
}

/** One configuration store. */
export interface ConfigurationStore extends Component {
  /** Items that exist among `keys`; all items when `keys` is empty. */
  get(keys: readonly string[], metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, ConfigurationItem>>
  /** Calls `onChange` with the items that changed, from the moment this resolves; disposing ends it. */
  subscribe(
    keys: readonly string[],
    metadata: Readonly<Record<string, string>>,
    onChange: (items: Record<string, ConfigurationItem>) => Promise<void>,
  ): Promise<AsyncDisposable>
}
