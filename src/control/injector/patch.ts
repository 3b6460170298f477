import { PREFIXES } from './annotations.ts'
import { isNative, sidecarContainer } from './container.ts'
import { componentsFolder, type EnvVar, mountsOf, type VolumeMount } from './environment-variables.ts'
import { HTTP_PORT, type Platform, SIDECAR, SOCKETS_FOLDER, sentryId } from './platform.ts'
import type { Container, Pod } from './pod.ts'
import { proxyOperations } from './proxy.ts'
import type { Wishes } from './wishes.ts'

/** One operation of a JSON Patch (RFC 6902). */
export interface Operation {
  op: 'add'
  path: string
  value: unknown
}

const TOKEN_VOLUME = 'dapr-identity-token'
const SOCKETS_VOLUME = 'dapr-unix-domain-socket'
const COMPONENTS_VOLUME = 'dapr-components-unix-domain-socket'

/** Annotations that others of the control plane read, by Dapr's prefix alone. */
const READ_BY_OTHERS = ['enabled', 'app-id', 'config'] as const

/** A sidecar is there already: put by us, or by hand. */
export function hasSidecar(pod: Pod): boolean {
  return [...pod.containers, ...pod.initContainers].some(({ name }) => name === SIDECAR)
}

/**
 * What makes a pod one with a sidecar. `injected`: containers of components that are added. Throws naming the annotation when
 * the app id cannot be one.
 */
export function sidecarPatch(pod: Pod, wishes: Wishes, platform: Platform, injected: readonly Container[]): Operation[] {
  mustBeAppId(wishes.text('app-id'))
  const operations: Operation[] = []
  const add = (path: string, value: unknown) => operations.push({ op: 'add', path, value })
  const components = new Set(wishes.text('pluggable-components').split(','))
  const indexed = pod.containers.map((container, index) => ({ container, index }))
  const apps = indexed.filter(({ container }) => !components.has(container.name))
  const pluggable = indexed.filter(({ container }) => components.has(container.name))
  const withComponents = pluggable.length > 0 || injected.length > 0
  const { volumes, mounts } = volumesOf(pod, wishes, platform, withComponents)

  if (pod.containers.length === 0) add('/spec/containers', [])
  if (Object.keys(pod.labels ?? {}).length === 0) add('/metadata/labels', {})
  if (pod.volumes.length === 0 && volumes.length > 0) add('/spec/volumes', volumes)
  else for (const volume of volumes) if (!pod.volumes.some(({ name }) => name === volume.name)) add('/spec/volumes/-', volume)
  const native = isNative(wishes, platform)
  if (native && pod.initContainers.length === 0) add('/spec/initContainers', [])
  add(native ? '/spec/initContainers/-' : '/spec/containers/-', sidecarContainer(pod, wishes, platform, mounts, withComponents))
  add('/metadata/labels/dapr.io~1sidecar-injected', 'true')
  add('/metadata/labels/dapr.io~1app-id', wishes.text('app-id'))
  add('/metadata/labels/dapr.io~1metrics-enabled', String(wishes.on('enable-metrics')))
  for (const { container, index } of apps) operations.push(...envOperations(container, index, appEnv(wishes)))
  const socket = wishes.text('unix-domain-socket-path')
  if (socket !== '')
    for (const { container, index } of apps)
      operations.push(...mountOperations(container, index, { name: SOCKETS_VOLUME, mountPath: socket }))
  if (withComponents) {
    const anyVolume = pod.volumes.length > 0 || volumes.length > 0
    operations.push(...componentOperations(pod, wishes, pluggable, injected, anyVolume))
  }
  // Whatever made the wish: our prefix, or the label of the namespace.
  const copied = READ_BY_OTHERS.filter((name) => {
    // The authority goes by the annotation; a pod without one is to it what its name says.
    const wished = wishes.own.has(name) || name === 'enabled' || (name === 'app-id' && !pod.named && !wishes.given(name))
    return wished && pod.annotations[PREFIXES.dapr + name] !== wishes.text(name)
  })
  if (copied.length > 0 && !pod.hasAnnotations) add('/metadata/annotations', {})
  for (const name of copied) add(`/metadata/annotations/dapr.io~1${name}`, wishes.text(name))
  if (wishes.on('proxy')) operations.push(...proxyOperations(pod, wishes, platform, native))
  return operations
}

function volumesOf(pod: Pod, wishes: Wishes, platform: Platform, withComponents: boolean) {
  const present = new Set(pod.volumes.map(({ name }) => name))
  const mounts: VolumeMount[] = [...mountsOf(wishes, 'volume-mounts', present), ...mountsOf(wishes, 'volume-mounts-rw', present)]
  const volumes: { name: string }[] = []
  const put = (volume: { name: string }, mount: Omit<VolumeMount, 'name'>) => {
    volumes.push(volume)
    mounts.push({ name: volume.name, ...mount })
  }
  if (wishes.text('unix-domain-socket-path') !== '')
    put({ name: SOCKETS_VOLUME, ...{ emptyDir: { medium: 'Memory' } } }, { mountPath: SOCKETS_FOLDER })
  if (platform.tokenVolume)
    put(tokenVolume(sentryId(platform.environment)), { mountPath: '/var/run/secrets/dapr.io/sentrytoken', readOnly: true })
  if (withComponents) mounts.push({ name: COMPONENTS_VOLUME, mountPath: componentsFolder(wishes) })
  return { volumes, mounts }
}

function tokenVolume(audience: string) {
  const serviceAccountToken = { audience, expirationSeconds: 7200, path: 'token' }
  return { name: TOKEN_VOLUME, projected: { sources: [{ serviceAccountToken }], defaultMode: 0o644 } }
}

/** Shared folders for the sockets of components that are in the pod, and the containers that come from Components. */
function componentOperations(
  pod: Pod,
  wishes: Wishes,
  pluggable: readonly { container: Container; index: number }[],
  injected: readonly Container[],
  anyVolume: boolean,
): Operation[] {
  const operations: Operation[] = []
  const add = (path: string, value: unknown) => operations.push({ op: 'add', path, value })
  const shared = { name: COMPONENTS_VOLUME, emptyDir: {} }
  // Where there is a list by now, a whole one would take its place.
  if (anyVolume) add('/spec/volumes/-', shared)
  else add('/spec/volumes', [shared])
  const mount = { name: COMPONENTS_VOLUME, mountPath: componentsFolder(wishes) }
  const variable: EnvVar = { name: 'DAPR_COMPONENT_SOCKETS_FOLDER', value: mount.mountPath }
  for (const { container, index } of pluggable)
    operations.push(...envOperations(container, index, [variable]), ...mountOperations(container, index, mount))
  const known = new Set([COMPONENTS_VOLUME, ...pod.volumes.map(({ name }) => name)])
  for (const container of injected) {
    for (const { name } of container.volumeMounts) {
      if (known.has(name)) continue
      known.add(name)
      add('/spec/volumes/-', { name, emptyDir: {} })
    }
    add('/spec/containers/-', {
      ...container,
      env: [...container.env, variable],
      volumeMounts: [...container.volumeMounts, mount],
      resources: (container as { resources?: unknown }).resources ?? {},
    })
  }
  return operations
}

function appEnv(wishes: Wishes): EnvVar[] {
  const protocol = appProtocol(wishes)
  return [
    { name: 'DAPR_HTTP_PORT', value: String(HTTP_PORT) },
    { name: 'DAPR_GRPC_PORT', value: wishes.text('grpc-port') },
    ...(protocol === '' ? [] : [{ name: 'APP_PROTOCOL', value: protocol }]),
  ]
}

function appProtocol(wishes: Wishes): string {
  const protocol = wishes.text('app-protocol').toLowerCase() || 'http'
  if (protocol === 'http' || protocol === 'grpc') return wishes.on('app-ssl') ? `${protocol}s` : protocol
  return ['https', 'grpcs', 'h2c'].includes(protocol) ? protocol : ''
}

function envOperations(container: Container, index: number, add: readonly EnvVar[]): Operation[] {
  const path = `/spec/containers/${index}/env`
  if (container.env.length === 0) return [{ op: 'add', path, value: add }]
  const present = new Set(container.env.map(({ name }) => name))
  return add.filter(({ name }) => !present.has(name)).map((value) => ({ op: 'add', path: `${path}/-`, value }))
}

function mountOperations({ volumeMounts }: Container, index: number, mount: VolumeMount): Operation[] {
  const path = `/spec/containers/${index}/volumeMounts`
  if (volumeMounts.length === 0) return [{ op: 'add', path, value: [mount] }]
  if (volumeMounts.some(({ name, mountPath }) => name === mount.name || mountPath === mount.mountPath)) return []
  return [{ op: 'add', path: `${path}/-`, value: mount }]
}

/** Its service is named after it, so it has to be a name that DNS takes. */
function mustBeAppId(appId: string): void {
  if (appId === '') throw new Error('value for the dapr.io/app-id annotation is empty, and the pod has no name yet; give the app an id')
  const service = `${appId}-dapr`
  if (service.length > 63 || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(service))
    throw new Error(
      `invalid app id "${appId}" (annotation dapr.io/app-id, service ${service}): at most 58 lower case letters, digits and -, beginning with a letter or digit`,
    )
}
