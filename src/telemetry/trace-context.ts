const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/** What stands for a trace where there is none. */
export const NO_TRACEPARENT = '00-00000000000000000000000000000000-0000000000000000-00'

/** The W3C traceparent to answer and to call on with while no tracing is configured: the caller's own, unchanged, or all zeros. */
export function passTraceparent(incoming: string | undefined): string {
  return incoming !== undefined && TRACEPARENT.test(incoming) ? incoming : NO_TRACEPARENT
}
