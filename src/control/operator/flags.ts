import { COMMON_FLAGS, type ControlFlags } from '../flags.ts'

/** Dapr's flags of the operator. */
export const OPERATOR_FLAGS = {
  ...COMMON_FLAGS,
  port: { kind: 'port', default: 6500, description: 'Port that sidecars call.' },
  'listen-address': { kind: 'text', default: '', description: 'Address that sidecars call; empty: all.' },
  'webhook-server-port': { kind: 'port', default: 19443, description: 'Port that API servers call to convert Subscriptions.' },
  'webhook-server-listen-address': { kind: 'text', default: '', description: 'Address that API servers call; empty: all.' },
  config: { kind: 'text', default: 'daprsystem', description: 'Name of the Configuration of the control plane.' },
  'trust-anchors-file': { kind: 'text', default: '/var/run/secrets/dapr.io/tls/ca.crt', description: 'Roots to trust; followed.' },
  'watch-namespace': { kind: 'text', default: '', description: 'Namespace whose resources are served; empty: all.' },
  'disable-leader-election': { kind: 'switch', default: false, description: 'It is the only operator.' },
  'disable-service-reconciler': { kind: 'switch', default: false, description: 'No Services are made for apps.' },
  'enable-argo-rollout-service-reconciler': { kind: 'switch', default: false, description: 'Services for Argo Rollouts too.' },
  'watch-interval': {
    kind: 'text',
    default: '0',
    description: 'How often pods that should have a sidecar, but have none, are deleted: a duration, once, or 0 for never.',
  },
  'max-pod-restarts-per-minute': { kind: 'count', default: 20, description: 'How many of them at most.' },
  'watchdog-can-patch-pod-labels': { kind: 'switch', default: false, description: 'Pods that have a sidecar get a label that says so.' },
  'cache-sync-period': { kind: 'text', default: '', description: 'Has no effect: nothing is told again that did not change.' },
} as const satisfies ControlFlags
