import { Counter } from '../../telemetry/labelled.ts'

/** What the injector counts, under Dapr's names. */
export function injectorMetrics() {
  const requests = new Counter('dapr_injector_sidecar_injection_requests_total', 'The total number of sidecar injection requests.', [])
  const succeeded = new Counter('dapr_injector_sidecar_injection_succeeded_total', 'The total number of successful sidecar injections.', [
    'app_id',
  ])
  const failed = new Counter('dapr_injector_sidecar_injection_failed_total', 'The total number of failed sidecar injections.', [
    'app_id',
    'reason',
  ])
  return {
    request: () => requests.add(),
    injected: (appId: string) => succeeded.add(appId),
    failed: (appId: string, reason: string) => failed.add(appId, reason),
    text: () => requests.text() + succeeded.text() + failed.text(),
  }
}
