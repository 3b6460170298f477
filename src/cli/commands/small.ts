import { UsageError } from '../args.ts'
import { type Command, JSON_FLAG } from '../command.ts'
import { dataDirectory } from '../paths.ts'
import { CommandError } from '../status.ts'

export const init: Command = {
  usage: 'init',
  summary: 'Says that nothing needs to be installed or started.',
  examples: ['outrider init'],
  // Flags of Dapr's tool that scripts give; there is nothing for them to change.
  flags: [
    { name: 'slim', short: 's', type: 'boolean', help: 'No effect' },
    { name: 'runtime-version', type: 'string', help: 'No effect' },
  ],
  run: async ({ reporter }) => {
    reporter.success('Nothing to install or start: outrider run brings the sidecar and, without resources, its own components.')
    reporter.info(`Their data lives in ${dataDirectory('')}`)
    reporter.info('Try: outrider run --app-id try --dapr-http-port 3500')
    return 0
  },
}

export const version: Command = {
  usage: 'version',
  summary: 'Show the versions of the tool and the sidecar.',
  examples: ['outrider version', 'outrider version -o json'],
  flags: [{ name: 'output', short: 'o', type: 'string', help: 'json' }, JSON_FLAG],
  run: async ({ parsed, reporter }) => {
    const output = parsed.on('json') ? 'json' : parsed.text('output')
    if (output !== '' && output !== 'json') throw new CommandError('An invalid output format was specified.', 'choose json, or none')
    const tool = await toolVersion()
    const { VERSION } = await import('../../version.ts')
    if (output === 'json') reporter.plain(JSON.stringify({ 'Cli version': tool, 'Runtime version': VERSION }))
    else reporter.plain(`CLI version: ${tool} \nRuntime version: ${VERSION}`)
    return 0
  },
}

async function toolVersion(): Promise<string> {
  const { readFile } = await import('node:fs/promises')
  const { packageDir } = await import('../paths.ts')
  const { version } = JSON.parse(await readFile(`${packageDir}/package.json`, 'utf8')) as { version: string }
  return version
}

export const schema: Command = {
  usage: 'schema KIND [flags]',
  summary: 'Print the JSON Schema of a resource kind, for editors and checks.',
  examples: [
    'outrider schema Component > component.schema.json',
    'outrider schema Subscription --api-version dapr.io/v2alpha1',
    '# The kinds there are',
    'outrider schema',
  ],
  flags: [{ name: 'api-version', type: 'string', help: "Version of the kind (default: its first; of Dapr's kinds dapr.io/v1alpha1)" }],
  run: async ({ parsed, reporter }) => {
    const { KINDS, schemaOf } = await import('../../resources/schema.ts')
    const [word] = parsed.words
    if (word === undefined) {
      for (const kind of KINDS) reporter.plain(kind)
      return 0
    }
    const kind = KINDS.find((name) => name.toLowerCase() === word.toLowerCase())
    if (!kind) throw new UsageError(`unknown kind "${word}"; there are ${KINDS.join(', ')}`)
    const version = parsed.text('api-version') || undefined
    const found = schemaOf(kind, version)
    if (!found) throw new CommandError(`kind ${kind} has no version ${version}`, 'leave --api-version away for its first one')
    reporter.plain(JSON.stringify(found, null, 2))
    return 0
  },
}
