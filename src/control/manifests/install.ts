import { EVERY_POD, WEBHOOK_CONFIGURATION } from '../injector/webhook-configuration.ts'
import { definitions } from './definitions.ts'
import { type InstallValues, LABELS, type Manifest } from './manifest.ts'
import { networkPolicies, oneProgram, separatePrograms, services } from './programs.ts'
import { roles } from './roles.ts'

/** A part of an installation; the order is the one in which they are applied. */
export interface InstallPart {
  readonly name: string
  /** The switch among the values that decides whether it is there; undefined: it always is. */
  readonly when?: { readonly value: 'together'; readonly is: boolean }
  readonly objects: Manifest[]
}

/** Pods of a namespace with this label get a sidecar without asking for it. */
export const NAMESPACE_LABEL = 'outrider-injection'

/** Everything an installation with these values consists of. */
export function installation(values: InstallValues): InstallPart[] {
  return allParts(values).filter(({ when }) => !when || values[when.value] === when.is)
}

/** With the parts that other values would have. */
export function allParts(values: InstallValues): InstallPart[] {
  const { namespace } = values
  return [
    { name: 'crds', objects: definitions(namespace) },
    {
      name: 'namespace',
      objects: [
        {
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: namespace, labels: { ...LABELS, 'pod-security.kubernetes.io/enforce': 'restricted' } },
        },
      ],
    },
    { name: 'rbac', objects: roles(values) },
    { name: 'configuration', objects: [configuration(values)] },
    { name: 'services', objects: services(values) },
    { name: 'control', when: { value: 'together', is: true }, objects: oneProgram(values) },
    { name: 'programs', when: { value: 'together', is: false }, objects: separatePrograms(values) },
    { name: 'webhook', objects: [webhook(values)] },
    { name: 'network-policies', objects: networkPolicies(values) },
  ]
}

function configuration({ namespace, trustDomain, mtls }: InstallValues): Manifest {
  return {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Configuration',
    metadata: { name: 'daprsystem', namespace, labels: LABELS },
    spec: {
      mtls: {
        enabled: mtls.enabled,
        workloadCertTTL: mtls.workloadCertTTL,
        allowedClockSkew: mtls.allowedClockSkew,
        controlPlaneTrustDomain: trustDomain,
        sentryAddress: `dapr-sentry.${namespace}.svc:443`,
      },
    },
  }
}

/** Pods that ask for a sidecar, and all pods of namespaces that are labelled; never those of the control plane itself. */
function webhook({ namespace, injector }: InstallValues): Manifest {
  const one = (name: string, path: string, operator: 'In' | 'NotIn') => ({
    name,
    clientConfig: { service: { namespace, name: 'dapr-sidecar-injector', path, port: 443 } },
    rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
    namespaceSelector: {
      matchExpressions: [
        { key: NAMESPACE_LABEL, operator, values: ['enabled'] },
        { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system', namespace] },
      ],
    },
    failurePolicy: injector.failurePolicy,
    sideEffects: 'None',
    reinvocationPolicy: 'IfNeeded',
    timeoutSeconds: 10,
    admissionReviewVersions: ['v1', 'v1beta1'],
  })
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: WEBHOOK_CONFIGURATION, labels: LABELS },
    webhooks: [one('sidecar-injector.dapr.io', '/mutate', 'NotIn'), one('namespaces.outrider.dev', EVERY_POD, 'In')],
  }
}
