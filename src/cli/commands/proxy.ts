import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { messageOf } from '../../errors.ts'
import { type Parsed, UsageError } from '../args.ts'
import { type Command, DATA_DIR_FLAG } from '../command.ts'
import { dataDirectory } from '../paths.ts'
import { runRoles } from '../run-roles.ts'
import { CommandError, type Reporter } from '../status.ts'

export const proxy: Command = {
  usage: 'proxy [convert] -c FILE [flags]',
  summary:
    'Run a proxy from a static configuration of Envoy, or from a Proxy of our own, until it is stopped; or write the one as the other.',
  examples: [
    'outrider proxy -c envoy.yaml',
    '# Only say whether the file can be used',
    'outrider proxy -c envoy.yaml --mode validate',
    '# The same as a Proxy of our own',
    'outrider proxy convert -c envoy.yaml',
  ],
  flags: [
    { name: 'config-path', short: 'c', type: 'string', help: 'A static configuration of Envoy, YAML or JSON, or a document of kind Proxy' },
    { name: 'lenient', type: 'boolean', help: 'Pass over fields that nothing here acts on, and say which they are' },
    { name: 'mode', type: 'string', default: 'serve', help: 'serve, or validate: say what is wrong with the file and end' },
    { name: 'log-level', short: 'l', type: 'string', default: 'info', help: 'debug, info, warn, error or fatal' },
    { name: 'port', type: 'int', default: 0, help: "The agents' port, with /metrics and /status; 0: it is not opened" },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const [word, ...more] = parsed.words
    if ((word !== undefined && word !== 'convert') || more.length > 0)
      throw new UsageError(`proxy takes convert or nothing, not ${parsed.words.join(' ')}`)
    const file = parsed.text('config-path')
    if (!file) throw new UsageError('--config-path is missing: name the file')
    return word === 'convert' ? convert(file, parsed) : serve(file, parsed, reporter)
  },
}

async function convert(file: string, parsed: Parsed): Promise<number> {
  const { convertFile } = await import('../../proxy/read-file.ts')
  const { text, lost } = orRefused(file, () => convertFile(file, basename(file).replace(/\.\w+$/, ''), parsed.on('lenient')))
  if (lost.length > 0 && !parsed.on('lenient'))
    throw new CommandError(`our own kind cannot say all of ${file}; run the file as it is, or take --lenient:\n${lost.join('\n')}`)
  process.stdout.write(text)
  return 0
}

async function serve(file: string, parsed: Parsed, reporter: Reporter): Promise<number> {
  const mode = parsed.text('mode')
  if (mode !== 'serve' && mode !== 'validate') throw new UsageError(`--mode is serve or validate, not ${mode}`)
  const { specOfFile } = await import('../../proxy/read-file.ts')
  const { readProxy } = await import('../../proxy/read.ts')
  const { problemText } = await import('../../proxy/envoy/reader.ts')
  const lenient = parsed.on('lenient')
  // What is wrong with the file ends it at once; a port that is taken is tried again.
  const { remarks } = orRefused(file, () => readProxy(specOfFile(file, lenient)))
  if (mode === 'validate') {
    for (const remark of remarks) process.stderr.write(`${problemText(remark)} (passed over)\n`)
    reporter.success(`${file} can be used`)
    return 0
  }
  return runRoles({
    appId: 'proxy',
    paths: [],
    more: ({ roles }) => {
      const spec = specOfFile(file, lenient)
      // Of a file of Envoy the text is part of it, so that SIGHUP sees that it has changed.
      const text = spec.envoy === undefined ? {} : { text: readFileSync(spec.envoy, 'utf8') }
      roles.push({ kind: 'Proxy', name: 'proxy', namespace: '', scopes: [], source: { file, line: 1 }, spec: { ...spec, ...text } })
    },
    port: { host: '127.0.0.1', port: parsed.number('port'), token: process.env.OUTRIDER_AGENT_TOKEN },
    listen: parsed.number('port') > 0,
    dataDir: dataDirectory(parsed.text('outrider-data-dir')),
    level: parsed.text('log-level'),
    json: parsed.on('log-as-json'),
  })
}

function orRefused<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new CommandError(`${file} cannot be used:\n${messageOf(error)}`)
  }
}
