import { UsageError } from '../args.ts'
import { type Command, DATA_DIR_FLAG } from '../command.ts'
import { dataDirectory } from '../paths.ts'
import { runRoles } from '../run-roles.ts'

export const agent: Command = {
  usage: 'agent -f FOLDER [flags]',
  summary:
    'Run the roles that the YAML of a folder asks for, without the API for apps: logs, metrics, configuration, secret files, security events, proxies.',
  examples: ['outrider agent -f ./agent', '# What runs there', 'curl localhost:9001/status'],
  flags: [
    { name: 'folder', short: 'f', type: 'string', help: 'Folder of resources; several with commas' },
    { name: 'app-id', type: 'string', default: 'agent', help: 'What scopes of resources go by, and a label of metrics' },
    { name: 'port', type: 'int', default: 9001, help: "The agents' port, on loopback" },
    { name: 'listen-address', type: 'string', default: '127.0.0.1', help: "Address of the agents' port" },
    { name: 'unix-socket', type: 'string', help: "Path of a unix socket on which the agents' port is served as well" },
    { name: 'log-level', type: 'string', default: 'info', help: 'debug, info, warn, error or fatal' },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed }) => {
    const folders = parsed.text('folder')
    if (!folders) throw new UsageError('--folder is missing: name the folder of the YAML')
    return runRoles({
      appId: parsed.text('app-id'),
      paths: folders.split(','),
      port: {
        host: parsed.text('listen-address'),
        port: parsed.number('port'),
        socket: parsed.text('unix-socket') || undefined,
        token: process.env.OUTRIDER_AGENT_TOKEN,
      },
      listen: true,
      dataDir: dataDirectory(parsed.text('outrider-data-dir')),
      level: parsed.text('log-level'),
      json: parsed.on('log-as-json'),
    })
  },
}
