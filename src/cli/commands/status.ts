import { APP_ID_FLAG, type Command, DATA_DIR_FLAG, JSON_FLAG } from '../command.ts'
import { healthReport } from '../health-report.ts'
import { sidecarOf } from '../payload.ts'
import { table } from '../status.ts'

export const status: Command = {
  usage: 'status [flags]',
  summary: 'Show the state of a sidecar and of its components, subscriptions and bindings, and why they are not up.',
  examples: ['outrider status --app-id tasks', '# A sidecar that another tool started', 'outrider status --dapr-http-port 3500'],
  flags: [
    APP_ID_FLAG,
    { name: 'dapr-http-port', type: 'string', help: 'Port of its HTTP API, for a sidecar that outrider run has not started' },
    JSON_FLAG,
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const appId = parsed.text('app-id')
    const port = Number(parsed.text('dapr-http-port'))
    const sidecar = port > 0 ? { httpPort: port } : sidecarOf(parsed, appId, `app ID ${appId} not found`)
    const report = await healthReport(sidecar)
    const well = report.state === 'ready'
    if (parsed.on('json')) {
      reporter.plain(JSON.stringify(report))
      return well ? 0 : 1
    }
    reporter.plain(`${report.id}: ${report.state} since ${report.since}`)
    if (report.parts.length > 0)
      reporter.plain(
        table(
          ['KIND', 'NAME', 'DETAIL', 'STATE', 'SINCE', 'NEXT ATTEMPT'],
          report.parts.map((part) => [part.kind, part.name, part.detail, part.state, part.since, part.nextAttempt ?? '']),
        ),
      )
    for (const reason of report.reasons) reporter.warning(reason)
    return well ? 0 : 1
  },
}
