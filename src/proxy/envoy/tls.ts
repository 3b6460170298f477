import type { ServerTls } from '../model/listener.ts'
import {
  type CertificateSource,
  type ClientTls,
  DEFAULT_VERSIONS,
  type NameMatch,
  type TlsVersions,
  type Validation,
} from '../model/tls.ts'
import { dataSource, extension, stringMatch } from './common.ts'
import type { ConfigNode } from './reader.ts'

const VERSIONS: Readonly<Record<string, TlsVersions['min'] | 'auto'>> = {
  TLS_AUTO: 'auto',
  TLSV1_0: 'TLSv1',
  TLSV1_1: 'TLSv1.1',
  TLSV1_2: 'TLSv1.2',
  TLSV1_3: 'TLSv1.3',
}
const KINDS: Readonly<Record<string, NonNullable<NameMatch['kind']>>> = { DNS: 'DNS', URI: 'URI', IP_ADDRESS: 'IP Address', EMAIL: 'email' }

/** The TLS context of a chain or cluster: a transport socket, or what stood there before these were. */
export function tlsContext(node: ConfigNode): ConfigNode | undefined {
  const old = node.get('tls_context')
  if (old) return old
  const socket = node.get('transport_socket')
  if (!socket) return undefined
  const { kind, name, config } = extension(socket)
  if (kind === 'RawBuffer' || name === 'envoy.transport_sockets.raw_buffer') return undefined
  if (!['DownstreamTlsContext', 'UpstreamTlsContext', 'Tls'].includes(kind)) {
    socket.unsupported(`is ${name}; only TLS is known here`)
    return undefined
  }
  return config
}

export function serverTls(node: ConfigNode): ServerTls {
  const common = node.need('common_tls_context')
  const tls = {
    ...commonTls(common),
    requireClientCertificate: node.flag('require_client_certificate', false),
  }
  if (tls.certificates.length === 0) common.complain('has no tls_certificates')
  return tls
}

export function clientTls(node: ConfigNode): ClientTls {
  const common = node.get('common_tls_context')
  const { certificates, ...rest } = common
    ? commonTls(common)
    : { certificates: [], validation: undefined, alpn: [], versions: DEFAULT_VERSIONS, ciphers: [] }
  if (certificates.length > 1) common?.unsupported('has more than one certificate; a client shows one')
  return { certificate: certificates[0], sni: node.text('sni', ''), autoSni: false, checkName: false, ...rest }
}

function commonTls(node: ConfigNode): Pick<ServerTls, 'certificates' | 'validation' | 'alpn' | 'versions' | 'ciphers'> {
  const params = node.get('tls_params')
  const min = params?.choice('tls_minimum_protocol_version', VERSIONS, 'auto') ?? 'auto'
  const max = params?.choice('tls_maximum_protocol_version', VERSIONS, 'auto') ?? 'auto'
  const validation = node.get('validation_context')
  return {
    certificates: node.list('tls_certificates').map(certificate),
    validation: validation && validationOf(validation),
    alpn: node.list('alpn_protocols').map((one) => one.asText()),
    versions: { min: min === 'auto' ? DEFAULT_VERSIONS.min : min, max: max === 'auto' ? DEFAULT_VERSIONS.max : max },
    ciphers: params?.list('cipher_suites').map((one) => one.asText()) ?? [],
  }
}

function certificate(node: ConfigNode): CertificateSource {
  const password = node.get('password')
  return {
    chain: dataSource(node.need('certificate_chain')),
    key: dataSource(node.need('private_key')),
    ...(password && { password: dataSource(password) }),
  }
}

function validationOf(node: ConfigNode): Validation {
  const ca = node.get('trusted_ca')
  const untrusted = node.choice('trust_chain_verification', { VERIFY_TRUST_CHAIN: 'no', ACCEPT_UNTRUSTED: 'yes' }, 'no')
  const names: NameMatch[] = [
    ...node.list('match_subject_alt_names').map(stringMatch),
    ...node.list('verify_subject_alt_name').map((one) => ({ exact: one.asText() })),
    ...node.list('match_typed_subject_alt_names').map((one) => {
      const kind = one.choice('san_type', KINDS)
      return { ...stringMatch(one.need('matcher')), ...(kind && { kind }) }
    }),
  ]
  if (names.length > 0 && !ca && untrusted === 'no') node.complain('has names to look for, but no trusted_ca that vouches for them')
  return {
    ca: ca && dataSource(ca),
    systemCa: node.get('system_root_certs') !== undefined,
    names,
    hashes: node.list('verify_certificate_hash').map((one) => one.asText()),
    acceptUntrusted: untrusted === 'yes',
  }
}
