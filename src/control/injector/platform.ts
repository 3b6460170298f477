import type { InjectorEnvironment } from './environment.ts'

/** What the control plane adds to each sidecar, whatever the pod wishes. */
export interface Platform {
  readonly environment: InjectorEnvironment
  /** Namespace of the pod. */
  readonly podNamespace: string
  /** PEM of the certificates that sidecars trust. */
  readonly trustAnchors: string
  readonly mtls: boolean
  readonly schedulerEnabled: boolean
  /** The injector has a token of Kubernetes itself, so sidecars can have one. */
  readonly tokenVolume: boolean
}

export const HTTP_PORT = 3500
export const PUBLIC_PORT = 3501
export const SOCKETS_FOLDER = '/var/run/dapr-sockets'
export const SIDECAR = 'daprd'

/** Of the certificate authority, by which sidecars know it and their tokens name it. */
export function sentryId({ trustDomain, namespace }: InjectorEnvironment): string {
  return `spiffe://${trustDomain}/ns/${namespace}/dapr-sentry`
}
