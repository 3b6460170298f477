import type { WholeReply } from '../../transport/http1/client.ts'
import { parseXml, textIn, within } from './xml.ts'

/** What a service answers instead of a result, in the words of AWS's Go SDK, which daprd passes on. */
export class AwsError extends Error {
  override readonly name = 'AwsError'
  /** e.g. `NoSuchKey`. */
  readonly code: string
  readonly status: number
  /** The service's own words alone. */
  readonly words: string
  /** Why each item of a cancelled transaction was refused. */
  readonly reasons: readonly string[]

  constructor(service: string, operation: string, fault: Fault) {
    super(
      `operation error ${service}: ${operation}, https response error StatusCode: ${fault.status}, RequestID: ${fault.requestId}, ${fault.hostId === undefined ? '' : `HostID: ${fault.hostId}, `}api error ${fault.code}: ${fault.words}`,
    )
    this.code = fault.code
    this.status = fault.status
    this.words = fault.words
    this.reasons = fault.reasons
  }
}

export interface Fault {
  code: string
  words: string
  status: number
  requestId: string
  /** S3's. */
  hostId?: string | undefined
  reasons: readonly string[]
}

/** The fault in a reply outside 2xx, in whichever of AWS's forms it comes. */
export function faultOf({ status, reason, headers, body }: WholeReply): Fault {
  const header = (name: string) => (typeof headers[name] === 'string' ? headers[name] : undefined)
  const fault = { status, requestId: header('x-amzn-requestid') ?? header('x-amz-request-id') ?? '', reasons: [] }
  const text = body.toString()
  try {
    if (text.trimStart().startsWith('{')) {
      const json = JSON.parse(text) as Record<string, unknown>
      const type = json.__type ?? json.code ?? header('x-amzn-errortype') ?? 'UnknownError'
      const reasons = Array.isArray(json.CancellationReasons) ? json.CancellationReasons : []
      return {
        ...fault,
        code: String(type).replace(/^.*#/, '').replace(/:.*$/, ''),
        words: String(json.message ?? json.Message ?? ''),
        reasons: reasons.map((one) => String((one as { Code?: unknown }).Code ?? '')),
      }
    }
    const root = parseXml(text)
    const error = root.name === 'Error' ? root : (within(root, 'Error') ?? within(root, 'Errors', 'Error'))
    const code = textIn(error, 'Code')
    if (code !== undefined)
      return {
        ...fault,
        code,
        words: textIn(error, 'Message') ?? '',
        requestId: textIn(root, 'RequestId') || fault.requestId,
        hostId: textIn(error, 'HostId') ?? header('x-amz-id-2'),
      }
  } catch {
    // No words of AWS: a proxy's, or none at all, as to HEAD.
  }
  const word = reason.replace(/[^A-Za-z]/g, '') || (status === 404 ? 'NotFound' : 'UnknownError')
  return { ...fault, code: word, words: reason || `status ${status}` }
}

const THROTTLED =
  /^(Throttl|RequestLimitExceeded|RequestThrottled|TooManyRequests|ProvisionedThroughputExceeded|SlowDown|LimitExceeded|BandwidthLimit|TransactionInProgress|PriorRequestNotComplete|EC2Throttled)/

/** Whether the same request may do better in a while. */
export function passes({ code, status }: Fault): boolean {
  return status >= 500 || status === 429 || THROTTLED.test(code) || code === 'RequestTimeout'
}

/** The sidecar's clock is not AWS's. */
export function isSkewed({ code }: Fault): boolean {
  return (
    code === 'RequestTimeTooSkewed' || code === 'RequestExpired' || code === 'RequestInTheFuture' || code === 'InvalidSignatureException'
  )
}
