import type { Failure } from '../cluster/attempt.ts'

const WHY: Readonly<Record<Exclude<Failure, 'invalid'>, readonly [reason: string, flags: string]>> = {
  connect: ['remote connection failure', 'UF'],
  refused: ['remote refused stream reset', 'UR'],
  overflow: ['overflow', 'UO'],
  reset: ['connection termination', 'UC'],
  protocol: ['protocol error', 'UPE'],
}
const OVERLOADED: readonly string[] = ['x-envoy-overloaded', 'true']
const NOTHING: readonly string[] = []

/** What a client and the access log are told of a failure without a reply, in Envoy's words. */
export interface FailureReply {
  text: string
  flags: string
  details: string
  fields: readonly string[]
}

export function failureReply(failure: Exclude<Failure, 'invalid'>): FailureReply {
  const [reason, flags] = WHY[failure]
  return {
    text: `upstream connect error or disconnect/reset before headers. reset reason: ${reason}`,
    flags,
    details: `upstream_reset_before_response_started{${reason.replaceAll(' ', '_')}}`,
    fields: failure === 'overflow' ? OVERLOADED : NOTHING,
  }
}
