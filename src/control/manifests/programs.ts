import type { InstallValues, Manifest } from './manifest.ts'
import { LABELS } from './manifest.ts'

const ANCHORS = '/var/run/secrets/dapr.io/tls'
const TOKEN = '/var/run/secrets/dapr.io/sentrytoken'

interface Program {
  /** As the control plane knows it: `dapr-` and this. */
  id: 'sentry' | 'operator' | 'injector'
  /** Of the Deployment and its pods; Dapr's, so that what looks for its control plane finds ours. */
  name: string
  args: string[]
  env?: { name: string; value: string }[]
  ports: { name: string; containerPort: number }[]
}

/** The Deployments of the control plane with their Services, service accounts and disruption budgets. */
export function programs(values: InstallValues): Manifest[] {
  return programList(values).flatMap((program) => [
    serviceAccount(program, values),
    deployment(program, values),
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: meta(program.name, values),
      spec: { maxUnavailable: 1, selector: { matchLabels: { app: program.name } } },
    },
  ])
}

export function services(values: InstallValues): Manifest[] {
  const service = (name: string, app: string, targetPort: number) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta(name, values),
    spec: { selector: { app }, ports: [{ name: 'https', port: 443, targetPort, protocol: 'TCP' }] },
  })
  return [
    service('dapr-sentry', 'dapr-sentry', 50001),
    service('dapr-api', 'dapr-operator', 6500),
    service('dapr-webhook', 'dapr-operator', 19443),
    service('dapr-sidecar-injector', 'dapr-sidecar-injector', 4000),
  ]
}

/** Who may call the control plane: pods its APIs, API servers its webhooks, anybody its metrics. Nothing else. */
export function networkPolicies(values: InstallValues): Manifest[] {
  return programList(values).map(({ name, ports }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: meta(name, values),
    spec: {
      podSelector: { matchLabels: { app: name } },
      policyTypes: ['Ingress'],
      ingress: [{ ports: [...ports.map(({ containerPort }) => containerPort), 9090, 8080].map((port) => ({ port, protocol: 'TCP' })) }],
    },
  }))
}

function programList(values: InstallValues): Program[] {
  const { trustDomain, clusterDomain, sidecar, injector, actors, scheduler } = values
  const shared = [`--log-level=${values.logLevel}`, `--log-as-json=${values.logAsJson}`]
  const env = (given: Record<string, string>) => Object.entries(given).map(([name, value]) => ({ name, value }))
  return [
    {
      id: 'sentry',
      name: 'dapr-sentry',
      args: [...shared, '--mode=kubernetes', `--trust-domain=${trustDomain}`],
      ports: [{ name: 'grpc', containerPort: 50001 }],
    },
    {
      id: 'operator',
      name: 'dapr-operator',
      args: [...shared, `--trust-anchors-file=${ANCHORS}/ca.crt`, `--watch-interval=${values.operator.watchInterval}`],
      ports: [
        { name: 'grpc', containerPort: 6500 },
        { name: 'webhook', containerPort: 19443 },
      ],
    },
    {
      id: 'injector',
      name: 'dapr-sidecar-injector',
      args: [...shared, `--scheduler-enabled=${scheduler.enabled}`],
      env: env({
        SIDECAR_IMAGE: values.image,
        SIDECAR_IMAGE_PULL_POLICY: values.imagePullPolicy,
        KUBE_CLUSTER_DOMAIN: clusterDomain,
        DAPR_CONTROL_PLANE_TRUST_DOMAIN: trustDomain,
        DAPR_TRUST_ANCHORS_FILE: `${ANCHORS}/ca.crt`,
        ALLOWED_SERVICE_ACCOUNTS: injector.allowedServiceAccounts,
        ACTORS_ENABLED: String(actors.enabled),
        NATIVE_SIDECAR_ENABLED: String(sidecar.native),
        SIDECAR_DROP_ALL_CAPABILITIES: 'true',
        SIDECAR_CPU_REQUEST: sidecar.cpuRequest,
        SIDECAR_CPU_LIMIT: sidecar.cpuLimit,
        SIDECAR_MEMORY_REQUEST: sidecar.memoryRequest,
        SIDECAR_MEMORY_LIMIT: sidecar.memoryLimit,
      }),
      ports: [{ name: 'webhook', containerPort: 4000 }],
    },
  ]
}

function meta(name: string, { namespace }: InstallValues) {
  return { name, namespace, labels: { app: name, ...LABELS } }
}

function serviceAccount({ id, name }: Program, { namespace }: InstallValues): Manifest {
  const metadata = { name: `dapr-${id}`, namespace, labels: { app: name, ...LABELS } }
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata }
}

function deployment({ id, name, args, env = [], ports }: Program, values: InstallValues): Manifest {
  const probe = { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 3, timeoutSeconds: 3 }
  const sentry = id === 'sentry'
  const audience = `spiffe://${values.trustDomain}/ns/${values.namespace}/dapr-sentry`
  const volumes = [
    // The authority writes it at its first start; the others wait for it.
    { name: 'trust-anchors', configMap: { name: 'dapr-trust-bundle', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
    {
      name: 'dapr-identity-token',
      projected: { sources: [{ serviceAccountToken: { audience, expirationSeconds: 7200, path: 'token' } }] },
    },
  ]
  const container = {
    name,
    image: values.image,
    imagePullPolicy: values.imagePullPolicy,
    command: [`/outrider-${id}`],
    args,
    env: [{ name: 'NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }, ...env],
    ports: [...ports, { name: 'metrics', containerPort: 9090 }].map((port) => ({ ...port, protocol: 'TCP' })),
    startupProbe: { ...probe, periodSeconds: 1, failureThreshold: 120 },
    livenessProbe: { ...probe, httpGet: { path: '/livez', port: 8080 }, failureThreshold: 5 },
    readinessProbe: { ...probe, failureThreshold: 5 },
    resources: { requests: { cpu: '100m', memory: '96Mi' }, limits: { cpu: '1', memory: '256Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65532,
      capabilities: { drop: ['ALL'] },
    },
    ...(!sentry && {
      volumeMounts: [
        { name: 'trust-anchors', mountPath: ANCHORS, readOnly: true },
        { name: 'dapr-identity-token', mountPath: TOKEN, readOnly: true },
      ],
    }),
  }
  const annotations = {
    'dapr.io/control-plane': id,
    'prometheus.io/scrape': 'true',
    'prometheus.io/port': '9090',
    'prometheus.io/path': '/',
  }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: meta(name, values),
    spec: {
      replicas: values.replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name, ...LABELS }, annotations },
        spec: {
          serviceAccountName: `dapr-${id}`,
          securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
          containers: [container],
          ...(!sentry && { volumes }),
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'ScheduleAnyway',
              labelSelector: { matchLabels: { app: name } },
            },
          ],
        },
      },
    },
  }
}
