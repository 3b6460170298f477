import type { Operation } from './patch.ts'
import type { Platform } from './platform.ts'
import type { Pod } from './pod.ts'
import type { Wishes } from './wishes.ts'

/** Connections to the pod come in here, those of its containers go out there. */
export const PROXY_PORTS = { inbound: 15_006, outbound: 15_001, admin: 15_020 } as const
/** The proxy's own user: its connections are led past itself. */
const PROXY_USER = 1337

/**
 * The transparent proxy beside the sidecar, and the init container whose rules of iptables lead the pod's TCP connections to it.
 * The sidecar's own ports are left alone: sidecars speak mTLS among themselves.
 */
export function proxyOperations(pod: Pod, wishes: Wishes, { environment }: Platform, native: boolean): Operation[] {
  const image = wishes.text('sidecar-image') || environment.sidecarImage
  const ports = ['--inbound-port', String(PROXY_PORTS.inbound), '--outbound-port', String(PROXY_PORTS.outbound)]
  const own = ['3500', '3501', wishes.text('grpc-port'), wishes.text('internal-grpc-port'), wishes.text('metrics-port')]
  const init = {
    name: 'outrider-proxy-init',
    image,
    imagePullPolicy: environment.pullPolicy,
    args: [
      '/outrider-proxy-init',
      ...ports,
      '--proxy-user',
      String(PROXY_USER),
      '--skip-inbound-ports',
      [...own, String(PROXY_PORTS.admin)].join(','),
    ],
    resources: {},
    // Rules of the pod's network are root's; it ends before the app starts.
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { add: ['NET_ADMIN', 'NET_RAW'], drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: false,
      runAsUser: 0,
    },
  }
  const proxy = {
    name: 'outrider-proxy',
    image,
    imagePullPolicy: environment.pullPolicy,
    args: ['/outrider-proxy', '--app-id', wishes.text('app-id'), ...ports, '--admin-port', String(PROXY_PORTS.admin)],
    ports: [
      { containerPort: PROXY_PORTS.inbound, name: 'proxy-inbound' },
      { containerPort: PROXY_PORTS.admin, name: 'proxy-admin' },
    ],
    resources: {},
    readinessProbe: { httpGet: { path: '/healthz', port: PROXY_PORTS.admin }, periodSeconds: 1, failureThreshold: 5 },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: PROXY_USER,
    },
  }
  // Before all others, so that what they fetch goes the same way.
  const first: Operation =
    pod.initContainers.length === 0 && !native
      ? { op: 'add', path: '/spec/initContainers', value: [init] }
      : { op: 'add', path: '/spec/initContainers/0', value: init }
  return [first, { op: 'add', path: '/spec/containers/-', value: proxy }]
}
