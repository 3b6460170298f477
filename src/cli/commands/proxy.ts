import { readFileSync } from 'node:fs'
import { messageOf } from '../../errors.ts'
import { UsageError } from '../args.ts'
import { type Command, DATA_DIR_FLAG } from '../command.ts'
import { dataDirectory } from '../paths.ts'
import { runRoles } from '../run-roles.ts'
import { CommandError } from '../status.ts'

export const proxy: Command = {
  usage: 'proxy -c FILE [flags]',
  summary: 'Run a proxy from a static configuration of Envoy, until it is stopped.',
  examples: ['outrider proxy -c envoy.yaml', '# Only say whether the file can be used', 'outrider proxy -c envoy.yaml --mode validate'],
  flags: [
    { name: 'config-path', short: 'c', type: 'string', help: 'The static configuration, YAML or JSON' },
    { name: 'lenient', type: 'boolean', help: 'Pass over fields that nothing here acts on, and say which they are' },
    { name: 'mode', type: 'string', default: 'serve', help: 'serve, or validate: say what is wrong with the file and end' },
    { name: 'log-level', short: 'l', type: 'string', default: 'info', help: 'debug, info, warn, error or fatal' },
    { name: 'port', type: 'int', default: 9001, help: "The agents' port, with /metrics and /status; open with --agent-port-open" },
    { name: 'agent-port-open', type: 'boolean', help: "Open the agents' port" },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const file = parsed.text('config-path')
    if (!file) throw new UsageError('--config-path is missing: name the file')
    const mode = parsed.text('mode')
    if (mode !== 'serve' && mode !== 'validate') throw new UsageError(`--mode is serve or validate, not ${mode}`)
    const spec = { envoy: file, lenient: parsed.on('lenient') }
    const { readProxy } = await import('../../proxy/read.ts')
    const { problemText } = await import('../../proxy/envoy/reader.ts')
    // What is wrong with the file ends it at once; a port that is taken is tried again.
    const remarks = (() => {
      try {
        return readProxy(spec).remarks
      } catch (error) {
        throw new CommandError(`${file} cannot be used:\n${messageOf(error)}`)
      }
    })()
    if (mode === 'validate') {
      for (const remark of remarks) process.stderr.write(`${problemText(remark)} (passed over)\n`)
      reporter.success(`${file} can be used`)
      return 0
    }
    return runRoles({
      appId: 'proxy',
      paths: [],
      more: ({ roles }) =>
        roles.push({
          kind: 'Proxy',
          name: 'proxy',
          namespace: '',
          scopes: [],
          source: { file, line: 1 },
          // The text is part of it, so that SIGHUP sees that the file has changed.
          spec: { ...spec, text: readFileSync(file, 'utf8') },
        }),
      port: { host: '127.0.0.1', port: parsed.number('port'), token: process.env.OUTRIDER_AGENT_TOKEN },
      listen: parsed.on('agent-port-open'),
      dataDir: dataDirectory(parsed.text('outrider-data-dir')),
      level: parsed.text('log-level'),
      json: parsed.on('log-as-json'),
    })
  },
}
