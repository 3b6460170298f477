import { Counter, Gauge } from '../../telemetry/labelled.ts'

/** What the authority counts, under Dapr's names. */
export function sentryMetrics() {
  const received = new Counter('dapr_sentry_cert_sign_request_received_total', 'The number of CSRs received.', [])
  const succeeded = new Counter('dapr_sentry_cert_sign_success_total', 'The number of certificates issuances that have succeeded.', [])
  const failed = new Counter('dapr_sentry_cert_sign_failure_total', 'The number of errors occurred when signing the CSR.', ['reason'])
  const changed = new Counter(
    'dapr_sentry_issuercert_changed_total',
    'The number of issuer cert updates, when issuer cert or key is changed',
    [],
  )
  const expiry = new Gauge(
    'dapr_sentry_issuercert_expiry_timestamp',
    'The unix timestamp, in seconds, when issuer/root cert will expire.',
    [],
  )
  const all = [received, succeeded, failed, changed, expiry]
  return {
    received: () => received.add(),
    succeeded: () => succeeded.add(),
    failed: () => failed.add('sign'),
    changed: () => changed.add(),
    expires: (at: Date) => expiry.set(Math.floor(at.getTime() / 1000)),
    text: () => all.map((each) => each.text()).join(''),
  }
}

export type SentryMetrics = ReturnType<typeof sentryMetrics>
