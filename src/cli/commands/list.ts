import { type Command, DATA_DIR_FLAG, JSON_FLAG } from '../command.ts'
import { type Instance, Instances } from '../instances.ts'
import { dataDirectory } from '../paths.ts'
import { CommandError, table } from '../status.ts'

export const list: Command = {
  usage: 'list [flags]',
  summary: 'Show the running sidecars and their apps.',
  examples: ['outrider list', '# For scripts', 'outrider list --json'],
  flags: [{ name: 'output', short: 'o', type: 'string', help: 'table, json or yaml' }, JSON_FLAG, DATA_DIR_FLAG],
  run: async ({ parsed, reporter }) => {
    const output = parsed.on('json') ? 'json' : parsed.text('output') || 'table'
    if (!['table', 'json', 'yaml'].includes(output))
      throw new CommandError('An invalid output format was specified.', 'choose table, json or yaml')
    const rows = new Instances(dataDirectory(parsed.text('outrider-data-dir'))).running().map(rowOf)
    if (output === 'json') process.stdout.write(JSON.stringify(rows, null, 2))
    else if (output === 'yaml') process.stdout.write((await import('yaml')).stringify(rows))
    else if (rows.length === 0) reporter.plain('No Dapr instances found.')
    else {
      reporter.plain(
        table(
          [
            'APP ID',
            'HTTP PORT',
            'GRPC PORT',
            'APP PORT',
            'COMMAND',
            'AGE',
            'CREATED',
            'DAPRD PID',
            'CLI PID',
            'APP PID',
            'RUN TEMPLATE PATH',
            'APP LOG PATH',
            'DAPRD LOG PATH',
            'RUNTEMPLATENAME',
          ],
          rows.map((row) =>
            [
              row.appId,
              row.httpPort,
              row.grpcPort,
              row.appPort,
              row.command,
              row.age,
              row.created,
              row.daprdPid,
              row.cliPid,
              row.appPid,
              row.runTemplatePath,
              row.appLogPath,
              row.daprdLogPath,
              row.runTemplateName,
            ].map(String),
          ),
        ),
      )
    }
    return 0
  },
}

function rowOf(instance: Instance) {
  const created = new Date(instance.created)
  return {
    appId: instance.appId,
    httpPort: instance.httpPort,
    grpcPort: instance.grpcPort,
    appPort: instance.appPort,
    metricsEnabled: instance.metricsEnabled,
    command: instance.command.length > 20 ? `${instance.command.slice(0, 17)}...` : instance.command,
    age: ageOf(Date.now() - created.getTime()),
    created: localTime(created),
    daprdPid: instance.daprdPid,
    cliPid: instance.cliPid,
    appPid: instance.appPid,
    maxRequestBodySize: 4194304,
    httpReadBufferSize: 4096,
    runTemplatePath: instance.runTemplatePath,
    appLogPath: instance.appLogPath,
    daprdLogPath: instance.daprdLogPath,
    runTemplateName: instance.runTemplateName,
  }
}

/** `59s`, `60m`, `24h`, `3d`. */
export function ageOf(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  if (seconds <= 60) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes <= 60) return `${minutes}m`
  const hours = Math.floor(minutes / 60)
  return hours <= 24 ? `${hours}h` : `${Math.floor(hours / 24)}d`
}

function localTime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}.${two(date.getSeconds())}`
}
