import { enableCompileCache } from 'node:module'
import { nearest } from '../nearest.ts'
import { type Flag, flagHelp, parseArgs, UsageError } from './args.ts'
import type { Command } from './command.ts'
import { CommandError, createReporter } from './status.ts'

enableCompileCache()

/** Every command, with its module: nothing is loaded that was not asked for. */
const COMMANDS: Readonly<Record<string, { summary: string; load: () => Promise<Command> }>> = {
  run: {
    summary: 'Run an app with a sidecar beside it, or several from a run file',
    load: async () => (await import('./commands/run.ts')).run,
  },
  list: { summary: 'Show the running sidecars and their apps', load: async () => (await import('./commands/list.ts')).list },
  status: { summary: 'Show how a sidecar and its components are doing', load: async () => (await import('./commands/status.ts')).status },
  apply: { summary: 'Change the resources of a running sidecar', load: async () => (await import('./commands/apply.ts')).apply },
  stop: { summary: 'Stop running apps and their sidecars', load: async () => (await import('./commands/stop.ts')).stop },
  invoke: { summary: 'Call a method of a running app', load: async () => (await import('./commands/invoke.ts')).invoke },
  publish: { summary: 'Publish an event', load: async () => (await import('./commands/publish.ts')).publish },
  state: { summary: "Read and write an app's state", load: async () => (await import('./commands/state.ts')).state },
  agent: {
    summary: 'Run the other sidecar roles (logs, metrics, configuration, secret files, …) from a folder of YAML',
    load: async () => (await import('./commands/agent.ts')).agent,
  },
  proxy: {
    summary: 'Run a proxy from a static configuration of Envoy, or from a Proxy of our own',
    load: async () => (await import('./commands/proxy.ts')).proxy,
  },
  iptables: {
    summary: 'Send connections through the proxy, whatever program makes them',
    load: async () => (await import('./commands/iptables.ts')).iptables,
  },
  components: {
    summary: 'Show component types and their settings, or try components',
    load: async () => (await import('./commands/components.ts')).components,
  },
  identity: {
    summary: 'Keep a small certificate authority for mTLS between sidecars',
    load: async () => (await import('./commands/identity.ts')).identity,
  },
  k8s: {
    summary: 'Put the control plane into a Kubernetes cluster, and give apps there a sidecar',
    load: async () => (await import('./commands/k8s.ts')).k8s,
  },
  debug: { summary: 'Gather what explains a running sidecar into one file', load: async () => (await import('./commands/debug.ts')).debug },
  schema: { summary: 'Print the JSON Schema of a resource kind', load: async () => (await import('./commands/small.ts')).schema },
  init: { summary: 'Says that nothing needs to be installed', load: async () => (await import('./commands/small.ts')).init },
  version: { summary: 'Show the versions', load: async () => (await import('./commands/small.ts')).version },
}

const GLOBAL_FLAGS: readonly Flag[] = [
  { name: 'help', short: 'h', type: 'boolean', help: 'Show this' },
  { name: 'log-as-json', type: 'boolean', help: 'Print status lines, and the log of the sidecar, as JSON' },
  { name: 'runtime-path', type: 'string', help: "Parent of the .dapr folder with Dapr's default components" },
]

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  return [
    'Outrider runs a sidecar beside your app: state, pub/sub, invocation, secrets and more on one local port.',
    '',
    'Usage:\n  outrider <command> [flags]',
    '',
    'Commands:',
    ...Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}   ${summary}`),
    '',
    'Try it:',
    '  outrider run --app-id try --dapr-http-port 3500',
    '  curl -X POST localhost:3500/v1.0/state/statestore -H "content-type: application/json" -d \'[{"key":"a","value":1}]\'',
    '  curl localhost:3500/v1.0/state/statestore/a',
    '',
    'More: outrider <command> --help',
  ].join('\n')
}

function helpOf(command: Command): string {
  const flags = [...command.flags, ...GLOBAL_FLAGS]
  return `${command.summary}\n\n${usageOf(command)}\n\nFlags:\n${flagHelp(flags)}`
}

function usageOf(command: Command): string {
  const examples = command.examples.map((line) => `  ${line}`).join('\n')
  return `Usage:\n  outrider ${command.usage}\n\nExamples:\n${examples}`
}

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    process.stdout.write(`${overview()}\n`)
    return 0
  }
  if (name === '--version' || name === '-v') return main(['version'])
  if (name === 'help') return main([rest[0] as string, '--help'])
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!entry) {
    const what = name.startsWith('-') ? `unknown flag: ${name}` : `unknown command "${name}" for "outrider"`
    const near = nearest(name, Object.keys(COMMANDS))
    process.stderr.write(`Error: ${what}\n${near ? `Did you mean ${near}?\n` : ''}Run 'outrider --help' for usage.\n`)
    return 255
  }
  const command = await entry.load()
  const flags = [...command.flags, ...GLOBAL_FLAGS]
  let reporter = createReporter()
  try {
    const parsed = parseArgs(rest, flags)
    reporter = createReporter({ json: parsed.on('log-as-json') })
    if (parsed.on('help')) {
      process.stdout.write(`${helpOf(command)}\n`)
      return 0
    }
    for (const warning of parsed.warnings) process.stderr.write(`${warning}\n`)
    return await command.run({ parsed, reporter })
  } catch (error) {
    if (error instanceof UsageError) {
      const meant = error.meant ? `\nDid you mean --${error.meant}?` : ''
      const apart =
        name === 'run' && /^unknown/.test(error.message) ? "\nIf it belongs to your app's command, put -- before the command." : ''
      // The flags would push the error off the screen.
      process.stderr.write(`Error: ${error.message}${meant}${apart}\n${usageOf(command)}\n\nAll flags: outrider ${name} --help\n`)
      return 255
    }
    if (error instanceof CommandError) {
      reporter.failure(error.message)
      if (error.hint) process.stderr.write(`   ${error.hint}\n`)
      return 1
    }
    reporter.failure(error instanceof Error ? error.message : String(error))
    return 1
  }
}

process.exitCode = await main(process.argv.slice(3))
