import type { KeyObject } from 'node:crypto'
import { issueCertificate, keyIdOf, subjectOf } from '../../transport/identity/certificate.ts'
import { ALLOWED_SKEW, type AuthorityFiles } from './files.ts'

const DAY = 86_400_000

export interface LeafOptions {
  /** Milliseconds. Default 24 h. */
  life?: number | undefined
  /** Milliseconds that it counts before it is made. Default 15 min. */
  skew?: number
  dns?: readonly string[]
}

/** Signs a leaf for a key: the leaf, then the issuer and what stands between it and the root, as PEM. It never outlives the issuer. */
export function issueLeaf(
  files: AuthorityFiles,
  uri: string,
  publicKey: KeyObject,
  { life = DAY, skew = ALLOWED_SKEW, dns = [] }: LeafOptions = {},
): string {
  const { certificate, pem, privateKey, publicKey: issuerKey } = files.issuer
  const leaf = issueCertificate({
    publicKey,
    subject: '',
    issuer: { name: subjectOf(certificate), privateKey, publicKey: issuerKey, keyId: keyIdOf(certificate) },
    notBefore: new Date(Date.now() - skew),
    notAfter: new Date(Math.min(Date.now() + life, Date.parse(certificate.validTo))),
    uri,
    dns,
  })
  return leaf + pem
}

/** Names by which the control plane's programs are called: webhooks by API servers, schedulers by each other. */
export function serviceNames(id: string, namespace: string, clusterDomain = 'cluster.local'): string[] {
  if (id === 'dapr-injector') return [`dapr-sidecar-injector.${namespace}.svc`]
  if (id === 'dapr-operator') return [`dapr-webhook.${namespace}.svc`]
  if (id !== 'dapr-scheduler') return []
  return [0, 1, 2].map((index) => `dapr-scheduler-server-${index}.dapr-scheduler-server.${namespace}.svc.${clusterDomain}`)
}
