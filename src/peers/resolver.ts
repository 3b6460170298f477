/** Where a sidecar listens for other sidecars. */
export interface Address {
  host: string
  port: number
  /** With mTLS: who has to be there, as the path of its SPIFFE id, e.g. `/ns/default/orders`. */
  identity?: string
}

/** What a sidecar says of itself. */
export interface Registration extends Address {
  appId: string
  namespace: string
}

/** Finds the sidecars of an app by name. */
export interface Resolver extends AsyncDisposable {
  /** Addresses of the app, none when it is unknown. Answers at once from memory where it can. */
  resolve(appId: string, namespace: string, signal?: AbortSignal): Address[] | Promise<Address[]>
  /** Makes this sidecar known until disposed. */
  register(registration: Registration): Promise<AsyncDisposable>
  /** An address could not be reached: look again before using what is remembered. */
  invalidate(appId: string, namespace: string): void
}

/** `host:port`, IPv6 in brackets; then the path of who has to be there, when it is known. */
export function formatAddress({ host, port, identity = '' }: Address): string {
  return host.includes(':') ? `[${host}]:${port}${identity}` : `${host}:${port}${identity}`
}
