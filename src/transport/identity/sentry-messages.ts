import { bytes, enumeration, int32, int64, mapOf, message, nested, repeated, string } from '../grpc/message.ts'

export const TokenValidator = { UNKNOWN: 0, INSECURE: 1, KUBERNETES: 2, JWKS: 3 } as const

export const SIGN_CERTIFICATE = '/dapr.proto.sentry.v1.CA/SignCertificate'

const Timestamp = message('google.protobuf.Timestamp', { seconds: int64(1), nanos: int32(2) })

const StringValue = message('google.protobuf.StringValue', { value: string(1) })

export const SignCertificateRequest = message('dapr.proto.sentry.v1.SignCertificateRequest', {
  id: string(1),
  token: string(2),
  trustDomain: string(3),
  namespace: string(4),
  certificateSigningRequest: bytes(5),
  tokenValidator: enumeration(6, {
    fullName: 'dapr.proto.sentry.v1.SignCertificateRequest.TokenValidator',
    values: { 0: 'UNKNOWN', 1: 'INSECURE', 2: 'KUBERNETES', 3: 'JWKS' },
  }),
  jwtAudiences: repeated(string(7)),
})

export const SignCertificateResponse = message('dapr.proto.sentry.v1.SignCertificateResponse', {
  workloadCertificate: bytes(1),
  trustChainCertificates: repeated(bytes(2)),
  validUntil: nested(3, Timestamp),
  jwt: nested(4, StringValue),
  perAudienceJwts: mapOf(5, StringValue),
})
