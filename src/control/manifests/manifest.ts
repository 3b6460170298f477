/** An object for the API server, as YAML has it. */
export type Manifest = Record<string, unknown>

/** What an installation may choose. */
export interface InstallValues {
  namespace: string
  image: string
  imagePullPolicy: string
  /** Authority, operator and injector in one process; else a Deployment for each. */
  together: boolean
  /** Of each Deployment. */
  replicas: number
  logLevel: string
  logAsJson: boolean
  trustDomain: string
  clusterDomain: string
  mtls: { enabled: boolean; workloadCertTTL: string; allowedClockSkew: string }
  /** What a sidecar asks for when its pod says nothing. */
  sidecar: { cpuRequest: string; cpuLimit: string; memoryRequest: string; memoryLimit: string; native: boolean }
  injector: { failurePolicy: string; allowedServiceAccounts: string }
  operator: { watchInterval: string }
  /** Dapr's placement and scheduler are in the namespace too. */
  actors: { enabled: boolean }
  scheduler: { enabled: boolean }
}

export const DEFAULT_VALUES: InstallValues = {
  namespace: 'outrider-system',
  image: 'outrider:latest',
  imagePullPolicy: 'IfNotPresent',
  together: true,
  replicas: 1,
  logLevel: 'info',
  logAsJson: true,
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  mtls: { enabled: true, workloadCertTTL: '24h', allowedClockSkew: '15m' },
  sidecar: { cpuRequest: '100m', cpuLimit: '200m', memoryRequest: '64Mi', memoryLimit: '128Mi', native: false },
  injector: { failurePolicy: 'Ignore', allowedServiceAccounts: '' },
  operator: { watchInterval: '0' },
  actors: { enabled: false },
  scheduler: { enabled: false },
}

export const LABELS = { 'app.kubernetes.io/part-of': 'outrider' }

/** On the pods of whatever runs a program of the control plane: its Services and policies find it by this. */
export function servesLabel(program: ProgramId): Record<string, string> {
  return { [`outrider.dev/${program}`]: 'true' }
}

export type ProgramId = 'sentry' | 'operator' | 'injector'

export const API_GROUPS = ['dapr.io', 'outrider.dev']
