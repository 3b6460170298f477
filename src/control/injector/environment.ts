import { isTruthy } from '../../components/metadata.ts'
import type { Logger } from '../../telemetry/log.ts'
import { clusterDomainOf } from '../cluster-domain.ts'
import type { Toleration } from './pod.ts'

/** Where a service of the control plane is reached. */
export interface ServiceAddress {
  readonly name: string
  readonly port: number
}

/** What the environment says to the injector: Dapr's variables, and ours for the sidecar's resources. */
export interface InjectorEnvironment {
  readonly sidecarImage: string
  readonly pullPolicy: 'Always' | 'Never' | 'IfNotPresent'
  readonly namespace: string
  readonly clusterDomain: string
  readonly trustDomain: string
  readonly trustAnchorsFile: string
  readonly sentryAddress: string
  /** Patterns `namespace:name`. */
  readonly allowedServiceAccounts: readonly string[]
  readonly ignoreEntrypointTolerations: readonly Toleration[]
  /** Undefined: no actors. */
  readonly actors: { readonly name: string; readonly address: string } | undefined
  readonly reminders: { readonly name: string; readonly address: string } | undefined
  readonly runAsNonRoot: boolean
  readonly runAsUser: number | undefined
  readonly runAsGroup: number | undefined
  readonly readOnlyRootFilesystem: boolean
  readonly downwardApis: boolean
  readonly dropAllCapabilities: boolean
  readonly nativeSidecar: boolean
  /** Where a pod says nothing of them; empty: none. */
  readonly resources: Readonly<Record<(typeof RESOURCES)[number], string>>
}

export const RESOURCES = ['cpu-request', 'cpu-limit', 'memory-request', 'memory-limit'] as const

/** Reads the environment; throws naming the variable that is missing or wrong. */
export function readEnvironment(env: NodeJS.ProcessEnv, resolvConf: string, log: Logger): InjectorEnvironment {
  const needed = (name: string) => {
    const value = env[name]
    if (!value) throw new Error(`the environment variable ${name} is missing; the injector needs it`)
    return value
  }
  const whole = (name: string) => {
    const value = env[name]
    if (value === undefined || value === '') return undefined
    if (!/^\d+$/.test(value)) throw new Error(`the environment variable ${name} is "${value}", which is no whole number`)
    return Number(value)
  }
  const unlessOff = (name: string) => (env[name] === undefined || env[name] === '' ? true : isTruthy(env[name]))
  const namespace = needed('NAMESPACE')
  const clusterDomain = env.KUBE_CLUSTER_DOMAIN || clusterDomainOf(resolvConf)
  const address = ({ name, port }: ServiceAddress) => `${name}.${namespace}.svc.${clusterDomain}:${port}`
  const service = (variable: string) => {
    const [, name, port] = /^([^:]+):([1-9]\d*)$/.exec(env[variable] ?? '') ?? []
    if (name === undefined) throw new Error(`the environment variable ${variable} is "${env[variable] ?? ''}"; expected the form name:port`)
    return address({ name, port: Number(port) })
  }
  const actorsName = env.ACTORS_SERVICE_NAME || 'placement'
  const actorsAddress = () =>
    env.ACTORS_SERVICE_NAME ? service('ACTORS_SERVICE_ADDRESS') : address({ name: 'dapr-placement-server', port: 50005 })
  const reminders = env.REMINDERS_SERVICE_NAME
  const policy = env.SIDECAR_IMAGE_PULL_POLICY ?? 'Always'
  return {
    sidecarImage: needed('SIDECAR_IMAGE'),
    pullPolicy: policy === 'Always' || policy === 'Never' ? policy : 'IfNotPresent',
    namespace,
    clusterDomain,
    trustDomain: env.DAPR_CONTROL_PLANE_TRUST_DOMAIN || 'cluster.local',
    trustAnchorsFile: env.DAPR_TRUST_ANCHORS_FILE || '/var/run/dapr.io/tls/ca.crt',
    sentryAddress: env.DAPR_SENTRY_ADDRESS || address({ name: 'dapr-sentry', port: 443 }),
    allowedServiceAccounts: [env.ALLOWED_SERVICE_ACCOUNTS, env.ALLOWED_SERVICE_ACCOUNTS_PREFIX_NAMES].flatMap((text) =>
      (text ?? '')
        .split(',')
        .map((pattern) => pattern.trim())
        .filter((pattern) => pattern !== ''),
    ),
    ignoreEntrypointTolerations: tolerations(env.IGNORE_ENTRYPOINT_TOLERATIONS, log),
    actors: unlessOff('ACTORS_ENABLED') ? { name: actorsName, address: actorsAddress() } : undefined,
    reminders:
      reminders === undefined || reminders === ''
        ? undefined
        : { name: reminders, address: reminders === 'default' ? '' : service('REMINDERS_SERVICE_ADDRESS') },
    runAsNonRoot: unlessOff('SIDECAR_RUN_AS_NON_ROOT'),
    runAsUser: whole('SIDECAR_RUN_AS_USER'),
    runAsGroup: whole('SIDECAR_RUN_AS_GROUP'),
    readOnlyRootFilesystem: unlessOff('SIDECAR_READ_ONLY_ROOT_FILESYSTEM'),
    downwardApis: isTruthy(env.ENABLE_K8S_DOWNWARD_APIS),
    dropAllCapabilities: isTruthy(env.SIDECAR_DROP_ALL_CAPABILITIES),
    nativeSidecar: isTruthy(env.NATIVE_SIDECAR_ENABLED),
    resources: {
      'cpu-request': env.SIDECAR_CPU_REQUEST ?? '',
      'cpu-limit': env.SIDECAR_CPU_LIMIT ?? '',
      'memory-request': env.SIDECAR_MEMORY_REQUEST ?? '',
      'memory-limit': env.SIDECAR_MEMORY_LIMIT ?? '',
    },
  }
}

function tolerations(text: string | undefined, log: Logger): Toleration[] {
  if (!text) return []
  try {
    const value = JSON.parse(text) as unknown
    if (!Array.isArray(value)) throw new Error('it is no list')
    // Go reads member names in any case.
    return value.map((item) =>
      Object.fromEntries(
        Object.entries(item as Toleration).map(([key, member]) => [
          key === 'TolerationSeconds' ? 'tolerationSeconds' : key.toLowerCase().replace('tolerationseconds', 'tolerationSeconds'),
          member,
        ]),
      ),
    )
  } catch (error) {
    log.warn(`IGNORE_ENTRYPOINT_TOLERATIONS is not used: ${error instanceof Error ? error.message : String(error)}`)
    return []
  }
}
