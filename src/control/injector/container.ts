import { parseQuantity } from '../../quantity.ts'
import { sidecarArguments } from './arguments.ts'
import { RESOURCES } from './environment.ts'
import { componentsFolder, type EnvVar, envFromAnnotations, type VolumeMount } from './environment-variables.ts'
import { HTTP_PORT, type Platform, PUBLIC_PORT, SIDECAR } from './platform.ts'
import type { Pod, Toleration } from './pod.ts'
import type { Wishes } from './wishes.ts'

/** The sidecar's container as the pod gets it. */
export function sidecarContainer(
  pod: Pod,
  wishes: Wishes,
  platform: Platform,
  mounts: readonly VolumeMount[],
  withComponents: boolean,
): Record<string, unknown> {
  const { environment } = platform
  const debug = wishes.on('enable-debug')
  const program = debug ? '/dlv' : '/daprd'
  const flags = sidecarArguments(wishes, platform)
  const args = debug ? [...debuggerArguments(wishes.text('debug-port')), ...flags] : flags
  const bare = tolerates(pod.tolerations, environment.ignoreEntrypointTolerations)
  const env = environmentOf(wishes, platform, withComponents)
  return {
    name: SIDECAR,
    image: wishes.text('sidecar-image') || environment.sidecarImage,
    ...(bare && { command: [program] }),
    args: bare ? args : [program, ...args],
    ports: ports(wishes, debug),
    env,
    resources: resources(wishes, platform),
    ...(mounts.length > 0 && { volumeMounts: mounts }),
    livenessProbe: { tcpSocket: { port: PUBLIC_PORT }, ...probe(wishes, 'liveness') },
    readinessProbe: { httpGet: { path: '/v1.0/healthz', port: PUBLIC_PORT }, ...probe(wishes, 'readiness') },
    imagePullPolicy: environment.pullPolicy,
    securityContext: securityContext(wishes, platform, env),
    ...(isNative(wishes, platform) && { restartPolicy: 'Always' }),
  }
}

/** The sidecar goes among the init containers and goes on running there. */
export function isNative(wishes: Wishes, { environment }: Platform): boolean {
  return wishes.given('enable-native-sidecar') ? wishes.on('enable-native-sidecar') : environment.nativeSidecar
}

function debuggerArguments(port: string): string[] {
  return ['--listen', `:${port}`, '--accept-multiclient', '--headless=true', '--log', '--api-version=2', 'exec', '/daprd', '--']
}

function ports(wishes: Wishes, debug: boolean): { containerPort: number; name: string }[] {
  const named = (name: string, annotation: string) => ({ containerPort: wishes.number(annotation), name })
  return [
    { containerPort: HTTP_PORT, name: 'dapr-http' },
    named('dapr-grpc', 'grpc-port'),
    named('dapr-internal', 'internal-grpc-port'),
    named('dapr-metrics', 'metrics-port'),
    ...(debug ? [named('dapr-debug', 'debug-port')] : []),
  ]
}

function environmentOf(wishes: Wishes, platform: Platform, withComponents: boolean): EnvVar[] {
  const { environment } = platform
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  const token = (name: string, annotation: string): EnvVar[] =>
    wishes.text(annotation) === '' ? [] : [{ name, valueFrom: { secretKeyRef: { name: wishes.text(annotation), key: 'token' } } }]
  return [
    { name: 'NAMESPACE', value: platform.podNamespace },
    { name: 'DAPR_TRUST_ANCHORS', value: platform.trustAnchors },
    field('POD_NAME', 'metadata.name'),
    { name: 'DAPR_CONTROLPLANE_NAMESPACE', value: environment.namespace },
    { name: 'DAPR_CONTROLPLANE_TRUST_DOMAIN', value: environment.trustDomain },
    ...(environment.downwardApis ? [field('DAPR_HOST_IP', 'status.podIP')] : []),
    ...envFromAnnotations(wishes),
    ...(withComponents ? [{ name: 'DAPR_COMPONENT_SOCKETS_FOLDER', value: componentsFolder(wishes) }] : []),
    ...token('DAPR_API_TOKEN', 'api-token-secret'),
    ...token('APP_API_TOKEN', 'app-token-secret'),
  ]
}

function probe(wishes: Wishes, which: 'liveness' | 'readiness') {
  const number = (what: string) => wishes.number(`sidecar-${which}-probe-${what}`)
  const known = {
    initialDelaySeconds: number('delay-seconds'),
    timeoutSeconds: number('timeout-seconds'),
    periodSeconds: number('period-seconds'),
    failureThreshold: number('threshold'),
  }
  // Zero is the default of Kubernetes, which it fills in itself.
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== 0))
}

function securityContext(wishes: Wishes, { environment }: Platform, env: readonly EnvVar[]): Record<string, unknown> {
  const { runAsUser, runAsGroup, runAsNonRoot, readOnlyRootFilesystem } = environment
  const profile = wishes.text('sidecar-seccomp-profile-type')
  // On Windows only an administrator may install certificates, and what system it will be cannot be known here.
  const windows = env.some(({ name }) => name === 'SSL_CERT_DIR')
  return {
    ...(environment.dropAllCapabilities && { capabilities: { drop: ['ALL'] } }),
    ...(windows && { windowsOptions: { runAsUserName: 'ContainerAdministrator' } }),
    ...(!windows && runAsUser !== undefined && { runAsUser }),
    ...(!windows && runAsGroup !== undefined && { runAsGroup }),
    runAsNonRoot: runAsNonRoot && !windows,
    readOnlyRootFilesystem: readOnlyRootFilesystem && !windows,
    allowPrivilegeEscalation: false,
    ...(profile !== '' && { seccompProfile: { type: profile } }),
  }
}

/** One bad quantity and there are none, as Dapr has it; the annotation has been warned about. */
function resources(wishes: Wishes, { environment }: Platform): Record<string, Record<string, string>> {
  const found: Record<string, Record<string, string>> = {}
  for (const name of RESOURCES) {
    const annotation = `sidecar-${name}`
    const value = wishes.given(annotation) ? wishes.text(annotation) : environment.resources[name]
    if (value === '') continue
    if (parseQuantity(value) === undefined) return {}
    const [what, which] = name.split('-') as [string, string]
    found[`${which}s`] = { ...found[`${which}s`], [what]: value }
  }
  return found
}

function tolerates(of: readonly Toleration[], wanted: readonly Toleration[]): boolean {
  const same = (one: Toleration, other: Toleration) =>
    (['key', 'operator', 'value', 'effect', 'tolerationSeconds'] as const).every((key) => (one[key] ?? '') === (other[key] ?? ''))
  return wanted.some((each) => of.some((toleration) => same(each, toleration)))
}
