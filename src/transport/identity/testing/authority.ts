import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createGrpcServer, unary } from '../../grpc/server.ts'
import type { GrpcStatus } from '../../grpc/status.ts'
import { issueCertificate } from '../certificate.ts'
import { readCertificateRequest } from '../csr.ts'
import { SIGN_CERTIFICATE, SignCertificateRequest, SignCertificateResponse } from '../sentry-messages.ts'

const DAY = 86_400_000

export interface TestAuthority extends AsyncDisposable {
  readonly address: string
  /** PEM of its root. */
  readonly root: string
  /** Requests it answered or refused. */
  readonly requests: { id: string; namespace: string; token: string; tokenValidator: number }[]
  /** Life of the next leaves in milliseconds. */
  life: number
  /** How far the clock that it writes leaves by is ahead of ours, in milliseconds. */
  skew: number
  /** Set to refuse. */
  refusal: GrpcStatus | undefined
  issue(uri: string, publicKey: KeyObject, life?: number): string
  close(): Promise<void>
  reopen(): Promise<void>
}

/** A certificate authority that speaks sentry's protocol on a real socket; root → issuer → leaf, as sentry has it. */
export async function startAuthority(options: { id?: string; trustDomain?: string } = {}): Promise<TestAuthority> {
  const root = generateKeyPairSync('ed25519')
  const middle = generateKeyPairSync('ed25519')
  const span = { notBefore: new Date(Date.now() - 900_000), notAfter: new Date(Date.now() + DAY) }
  const top = { name: 'root', ...root }
  const rootPem = issueCertificate({ ...span, publicKey: root.publicKey, subject: 'root', issuer: top, authority: true })
  const middlePem = issueCertificate({ ...span, publicKey: middle.publicKey, subject: 'issuer', issuer: top, authority: true })
  const issue = (uri: string, publicKey: KeyObject, life = authority.life) =>
    issueCertificate({
      publicKey,
      subject: '',
      issuer: { name: 'issuer', ...middle },
      notBefore: new Date(Date.now() + authority.skew - (life === DAY ? 900_000 : 0)),
      notAfter: new Date(Date.now() + authority.skew + life),
      uri,
    }) + middlePem
  const own = generateKeyPairSync('ed25519')
  const sign = unary(SignCertificateRequest.decode, SignCertificateResponse.encode, (request) => {
    authority.requests.push(request)
    if (authority.refusal) throw authority.refusal
    const key = readCertificateRequest(request.certificateSigningRequest.toString())
    const uri = `spiffe://${options.trustDomain ?? 'public'}/ns/${request.namespace}/${request.id}`
    return { workloadCertificate: Buffer.from(issue(uri, key)), trustChainCertificates: [Buffer.from(rootPem)] }
  })
  let server: ReturnType<typeof createGrpcServer>
  let port = 0
  const open = async () => {
    server = createGrpcServer({ methods: new Map([[SIGN_CERTIFICATE, sign]]) })
    const cert = issue(options.id ?? 'spiffe://localhost/ns/default/dapr-sentry', own.publicKey, DAY)
    port = await server.listen({
      host: '127.0.0.1',
      port,
      tls: { key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, cert },
    })
  }
  const authority: TestAuthority = {
    get address() {
      return `127.0.0.1:${port}`
    },
    root: rootPem,
    requests: [],
    life: DAY,
    skew: 0,
    refusal: undefined,
    issue,
    close: () => server.close(0),
    reopen: open,
    [Symbol.asyncDispose]: () => server.close(0),
  }
  await open()
  return authority
}
