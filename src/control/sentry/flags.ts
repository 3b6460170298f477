import { COMMON_FLAGS, type ControlFlags } from '../flags.ts'

/** Dapr's flags of sentry. */
export const SENTRY_FLAGS = {
  ...COMMON_FLAGS,
  port: { kind: 'port', default: 50001, description: 'Port of the authority.' },
  'listen-address': { kind: 'text', default: '', description: 'Address of the authority; empty: all.' },
  mode: { kind: 'text', default: 'standalone', description: 'standalone: its keys lie in a folder; kubernetes: in a Secret.' },
  config: {
    kind: 'text',
    default: 'daprsystem',
    description: 'Configuration with spec.mtls: its name in Kubernetes, else the path of a file.',
  },
  'trust-domain': { kind: 'text', default: 'localhost', description: 'Trust domain of the control plane.' },
  'issuer-credentials': {
    kind: 'text',
    default: '/var/run/secrets/dapr.io/credentials',
    description: 'Folder of the keys and certificates.',
  },
  'issuer-ca-filename': { kind: 'text', default: 'ca.crt', description: 'Name of the roots in the folder or Secret.' },
  'issuer-certificate-filename': { kind: 'text', default: 'issuer.crt', description: 'Name of the issuer in the folder or Secret.' },
  'issuer-key-filename': { kind: 'text', default: 'issuer.key', description: 'Name of the issuer’s key in the folder or Secret.' },
  'jwt-enabled': { kind: 'switch', default: false, description: 'Issues a JWT beside each certificate.' },
  'jwt-key-filename': { kind: 'text', default: 'jwt.key', description: 'Name of the key that signs JWTs.' },
  'jwks-filename': { kind: 'text', default: 'jwks.json', description: 'Name of the published keys.' },
  'jwt-issuer': { kind: 'text', default: '', description: 'Claim iss of JWTs; empty: none.' },
  'jwt-signing-algorithm': { kind: 'text', default: 'RS256', description: 'Signature of JWTs; it has to fit the key.' },
  'jwt-key-id': { kind: 'text', default: '', description: 'kid of the key that signs JWTs; empty: the one of the published keys.' },
  'jwt-ttl': { kind: 'duration', default: 86_400_000, description: 'Life of JWTs.' },
  'oidc-enabled': { kind: 'switch', default: false, description: 'Serves the published keys and the OpenID configuration.' },
  'oidc-server-listen-port': { kind: 'port', default: 9080, description: 'Port for OpenID.' },
  'oidc-server-listen-address': { kind: 'text', default: 'localhost', description: 'Address for OpenID.' },
  'oidc-server-tls-enabled': { kind: 'switch', default: true, description: 'OpenID is served with TLS.' },
  'oidc-server-tls-cert-file': { kind: 'text', default: '', description: 'Certificate for OpenID.' },
  'oidc-server-tls-key-file': { kind: 'text', default: '', description: 'Key for OpenID.' },
  'oidc-jwks-uri': { kind: 'text', default: '', description: 'Where others find the published keys; empty: here.' },
  'oidc-path-prefix': { kind: 'text', default: '', description: 'What the paths for OpenID begin with.' },
  'oidc-allowed-hosts': { kind: 'text', default: '', description: 'Hosts that OpenID is asked by, with commas; empty: any.' },
} as const satisfies ControlFlags
