import { type InstallValues, LABELS, type Manifest, type ProgramId, servesLabel } from './manifest.ts'
import { bindings } from './roles.ts'

const ANCHORS = '/var/run/secrets/dapr.io/tls'
const TOKEN = '/var/run/secrets/dapr.io/sentrytoken'

interface Program {
  /** Of the Deployment, its pods and its container. */
  name: string
  account: string
  command: string
  /** What runs in it. */
  programs: ProgramId[]
  args: string[]
  env?: { name: string; value: string }[]
  ports: { name: string; containerPort: number }[]
  memory: { request: string; limit: string }
}

/** A Deployment for each program of the control plane, under Dapr's names, so that what looks for its control plane finds ours. */
export function separatePrograms(values: InstallValues): Manifest[] {
  return programList(values).flatMap((program) => running(program, values))
}

/** One Deployment with all programs in one process. */
export function oneProgram(values: InstallValues): Manifest[] {
  const [sentry, operator, injector] = programList(values) as [Program, Program, Program]
  const shared = sharedArgs(values)
  const args = [sentry, operator, injector].flatMap((program) => program.args.filter((arg) => !shared.includes(arg)))
  const needless = /^--(mode|trust-anchors-file)=/
  const together: Program = {
    name: 'outrider-control',
    account: 'outrider-control',
    command: '/outrider-control',
    programs: ['sentry', 'operator', 'injector'],
    args: [...shared, ...args.filter((arg) => !needless.test(arg))],
    env: (injector.env ?? []).filter(({ name }) => name !== 'DAPR_TRUST_ANCHORS_FILE'),
    ports: [
      { name: 'sentry', containerPort: 50001 },
      { name: 'operator', containerPort: 6500 },
      { name: 'conversion', containerPort: 19443 },
      { name: 'injector', containerPort: 4000 },
    ],
    memory: { request: '128Mi', limit: '384Mi' },
  }
  return running(together, values)
}

function running(program: Program, values: InstallValues): Manifest[] {
  const { name, account } = program
  const metadata = { name: account, namespace: values.namespace, labels: { app: name, ...LABELS } }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    ...bindings(account, program.programs, values),
    deployment(program, values),
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: meta(name, values),
      spec: { maxUnavailable: 1, selector: { matchLabels: { app: name } } },
    },
  ]
}

export function services(values: InstallValues): Manifest[] {
  const service = (name: string, program: ProgramId, targetPort: number, more: object = {}) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta(name, values),
    spec: { selector: servesLabel(program), ports: [{ name: 'https', port: 443, targetPort, protocol: 'TCP' }], ...more },
  })
  return [
    service('dapr-sentry', 'sentry', 50001),
    service('dapr-api', 'operator', 6500),
    // Before it is ready the operator lists Subscriptions, for which the API server may need it.
    service('dapr-webhook', 'operator', 19443, { publishNotReadyAddresses: true }),
    service('dapr-sidecar-injector', 'injector', 4000),
  ]
}

/** Who may call the control plane, in whatever pods it runs: pods its APIs, API servers its webhooks, anybody its metrics. Nothing else. */
export function networkPolicies(values: InstallValues): Manifest[] {
  return programList(values).map(({ name, ports, programs: [program] }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: meta(name, values),
    spec: {
      podSelector: { matchLabels: servesLabel(program as ProgramId) },
      policyTypes: ['Ingress'],
      ingress: [{ ports: [...ports.map(({ containerPort }) => containerPort), 9090, 8080].map((port) => ({ port, protocol: 'TCP' })) }],
    },
  }))
}

function programList(values: InstallValues): Program[] {
  const { trustDomain, clusterDomain, sidecar, injector, actors, scheduler } = values
  const shared = sharedArgs(values)
  const memory = { request: '96Mi', limit: '256Mi' }
  const env = (given: Record<string, string>) => Object.entries(given).map(([name, value]) => ({ name, value }))
  return [
    {
      name: 'dapr-sentry',
      account: 'dapr-sentry',
      command: '/outrider-sentry',
      programs: ['sentry'],
      memory,
      args: [...shared, '--mode=kubernetes', `--trust-domain=${trustDomain}`],
      ports: [{ name: 'grpc', containerPort: 50001 }],
    },
    {
      name: 'dapr-operator',
      account: 'dapr-operator',
      command: '/outrider-operator',
      programs: ['operator'],
      memory,
      args: [...shared, `--trust-anchors-file=${ANCHORS}/ca.crt`, `--watch-interval=${values.operator.watchInterval}`],
      ports: [
        { name: 'grpc', containerPort: 6500 },
        { name: 'webhook', containerPort: 19443 },
      ],
    },
    {
      name: 'dapr-sidecar-injector',
      account: 'dapr-injector',
      command: '/outrider-injector',
      programs: ['injector'],
      memory,
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

function sharedArgs({ logLevel, logAsJson }: InstallValues): string[] {
  return [`--log-level=${logLevel}`, `--log-as-json=${logAsJson}`]
}

function deployment(program: Program, values: InstallValues): Manifest {
  const { name, account, command, programs, args, env = [], ports, memory } = program
  const probe = { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 3, timeoutSeconds: 3 }
  // Where the authority runs nobody needs to be told of it.
  const sentry = programs.includes('sentry')
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
    command: [command],
    args,
    env: [{ name: 'NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }, ...env],
    ports: [...ports, { name: 'metrics', containerPort: 9090 }].map((port) => ({ ...port, protocol: 'TCP' })),
    startupProbe: { ...probe, periodSeconds: 1, failureThreshold: 120 },
    livenessProbe: { ...probe, httpGet: { path: '/livez', port: 8080 }, failureThreshold: 5 },
    readinessProbe: { ...probe, failureThreshold: 5 },
    resources: { requests: { cpu: '100m', memory: memory.request }, limits: { cpu: '1', memory: memory.limit } },
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
  const serves = Object.assign({}, ...programs.map(servesLabel)) as Record<string, string>
  const annotations = {
    'dapr.io/control-plane': programs.join(','),
    'prometheus.io/scrape': 'true',
    'prometheus.io/port': '9090',
    'prometheus.io/path': '/',
  }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { ...meta(name, values), labels: { app: name, ...LABELS, ...serves } },
    spec: {
      replicas: values.replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name, ...LABELS, ...serves }, annotations },
        spec: {
          serviceAccountName: account,
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
