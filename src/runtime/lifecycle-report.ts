import { resolve } from 'node:path'
import type { Lifecycle, SidecarState } from './lifecycle.ts'
import type { ReloadRecord } from './reload-record.ts'

const STATES: readonly SidecarState[] = ['starting', 'ready', 'degraded', 'draining', 'stopped']

/** What `/v1.0/healthz?verbose` answers. */
export function verboseHealth(lifecycle: Lifecycle, record: ReloadRecord, folders: readonly string[]) {
  return {
    id: lifecycle.appId,
    state: lifecycle.state,
    since: lifecycle.since,
    reasons: lifecycle.reasons(),
    parts: lifecycle.parts(),
    reloads: { lastSuccess: record.lastSuccess, lastFailure: record.lastFailure, counts: record.counts() },
    resources: folders.map((folder) => resolve(folder)),
  }
}

/** The lifecycle's series in Prometheus's text format. */
export function lifecycleMetrics(lifecycle: Lifecycle, record: ReloadRecord): string {
  const app = `app_id="${escaped(lifecycle.appId)}"`
  const family = (name: string, type: string, help: string, rows: readonly string[]) =>
    rows.length === 0 ? '' : `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${rows.map((row) => `${name}${row}\n`).join('')}`
  const seconds = (date: Date | undefined) => (date ? [`{${app}} ${date.getTime() / 1000}`] : [])
  return [
    family(
      'outrider_sidecar_state',
      'gauge',
      '1 for the state the sidecar is in.',
      STATES.map((state) => `{${app},state="${state}"} ${state === lifecycle.state ? 1 : 0}`),
    ),
    family(
      'outrider_part_state',
      'gauge',
      '1 for the state that a component, subscription or input binding is in.',
      lifecycle.parts().map(({ kind, name, state }) => `{${app},kind="${kind}",name="${escaped(name)}",state="${state}"} 1`),
    ),
    family(
      'outrider_transitions_total',
      'counter',
      'Transitions of the sidecar and its parts, by the state they led to.',
      lifecycle.transitions().map(({ kind, to, count }) => `{${app},kind="${kind}",to="${to}"} ${count}`),
    ),
    family(
      'outrider_reloads_total',
      'counter',
      'Resources that were reloaded while running, by kind, action and result.',
      record.counts().map(({ kind, action, result, count }) => `{${app},kind="${kind}",action="${action}",result="${result}"} ${count}`),
    ),
    family('outrider_reload_last_success_timestamp_seconds', 'gauge', 'When a change was last put in force.', seconds(record.lastSuccess)),
    family('outrider_reload_last_failure_timestamp_seconds', 'gauge', 'When a change was last refused.', seconds(record.lastFailure)),
  ].join('')
}

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
