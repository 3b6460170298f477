import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Flag, flagHelp, parseArgs, UsageError } from '../../src/cli/args.ts'
import { dataDirectory, isDirectory } from '../../src/cli/paths.ts'
import { portAvailable, waitUntilAccepts } from '../../src/cli/ports.ts'
import { type ManyPlan, runMany } from '../../src/cli/run-many.ts'
import { emptySettings } from '../../src/cli/settings.ts'
import { callSidecar } from '../../src/cli/sidecar-client.ts'
import { createReporter } from '../../src/cli/status.ts'

const here = import.meta.dirname
/** The folders of YAML that come with the demo. */
const SETS = readdirSync(join(here, 'resources')).sort()

/** Each port is also read from the environment: --task-port from TASK_PORT. */
const PORTS = [
  ['task-port', 8000, 'Task API'],
  ['notifications-port', 8001, 'Notification Service'],
  ['task-sidecar-port', 3500, "Task API's sidecar"],
  ['notifications-sidecar-port', 3501, "Notification Service's sidecar"],
] as const

const FLAGS: readonly Flag[] = [
  ...PORTS.map(
    ([name, port, what]): Flag => ({
      name,
      type: 'int',
      default: Number(process.env[variable(name)] || port),
      help: `Port of the ${what}; also ${variable(name)}`,
    }),
  ),
  {
    name: 'task-app',
    type: 'string',
    default: process.env.TASK_APP || 'node',
    help: 'Which Task API: node or python (needs fastapi, httpx and uvicorn)',
  },
  {
    name: 'notifications-app',
    type: 'string',
    default: process.env.NOTIFICATIONS_APP || 'node',
    help: 'Which Notification Service: node or go',
  },
  {
    name: 'resources',
    type: 'string',
    default: process.env.RESOURCES || '',
    help: `${SETS.join(', ')} or a folder with YAML, instead of the embedded components; also RESOURCES`,
  },
  {
    name: 'data-dir',
    type: 'string',
    default: process.env.OUTRIDER_DATA_DIR || join(here, '.outrider'),
    help: 'Where the embedded components keep their data',
  },
  { name: 'help', short: 'h', type: 'boolean', help: 'Show this' },
]

const COMMANDS: Readonly<Record<string, string[]>> = {
  'task-app node': [process.execPath, join(here, 'node', 'task-api.mjs')],
  'task-app python': ['python3', join(here, 'python', 'task_api.py')],
  'notifications-app node': [process.execPath, join(here, 'node', 'notifications.mjs')],
  'notifications-app go': ['go', 'run', join(here, 'go', 'main.go')],
}

function variable(flag: string): string {
  return flag.toUpperCase().replaceAll('-', '_')
}

/** Go compiles its app at the first start. */
const START_TIMEOUT = 120_000

/** Waits until the sidecar has its components and its app. Throws after START_TIMEOUT. */
async function untilHealthy(port: number, appId: string, signal: AbortSignal): Promise<void> {
  const end = Date.now() + START_TIMEOUT
  let answer = 'nothing'
  while (!signal.aborted && Date.now() < end) {
    const reply = await callSidecar({ httpPort: port }, 'GET', '/v1.0/healthz', { timeout: 2000 }).catch(() => undefined)
    if (reply && reply.status < 300) return
    answer = reply?.body ?? 'nothing'
    await pause(50, undefined, { signal }).catch(() => undefined)
  }
  if (!signal.aborted) throw new Error(`the sidecar of ${appId} is not healthy after ${START_TIMEOUT / 1000} s; it answers: ${answer}`)
}

async function main(args: readonly string[]): Promise<number> {
  const reporter = createReporter()
  const parsed = parseArgs(args, FLAGS)
  if (parsed.on('help')) {
    reporter.plain(
      `Starts the Task API and the Notification Service, each with its sidecar.\n\nUsage:\n  npm start -- [flags]\n\nFlags:\n${flagHelp(FLAGS)}`,
    )
    return 0
  }
  let free = true
  for (const [name, , what] of PORTS) {
    if (await portAvailable(parsed.number(name))) continue
    reporter.failure(
      `Port ${parsed.number(name)} for the ${what} is taken: choose another one with npm start -- --${name} N, or ${variable(name)}=N npm start`,
    )
    free = false
  }
  const taskCommand = COMMANDS[`task-app ${parsed.text('task-app')}`]
  const notificationsCommand = COMMANDS[`notifications-app ${parsed.text('notifications-app')}`]
  if (!taskCommand || !notificationsCommand) reporter.failure('--task-app is node or python, --notifications-app is node or go')
  const given = parsed.text('resources')
  const resources = SETS.includes(given) ? join(here, 'resources', given) : given
  const found = resources === '' || isDirectory(resources)
  if (!found) reporter.failure(`No folder ${resources}: --resources is ${SETS.join(', ')} or a folder with YAML`)
  if (!free || !taskCommand || !notificationsCommand || !found) return 1

  const dataDir = dataDirectory(parsed.text('data-dir'))
  const secrets = join(dataDir, 'secrets.json')
  mkdirSync(dataDir, { recursive: true })
  // The embedded secret store reads this file; one that the user changed stays.
  if (!existsSync(secrets)) copyFileSync(join(here, 'secrets.json'), secrets)

  const plan = (appId: string, command: string[], appPort: number, daprHttpPort: number): ManyPlan => {
    const settings = {
      ...emptySettings(appId, dataDir),
      appPort,
      daprHttpPort,
      appProtocol: 'http',
      embedded: resources === '',
      resourcesPaths: resources === '' ? [] : [resources],
    }
    const logDirectory = join(dataDir, 'logs')
    return {
      settings,
      command,
      cwd: here,
      env: {},
      runTemplatePath: join(here, 'start.ts'),
      runTemplateName: 'tasks',
      appLogPath: '',
      daprdLogPath: join(logDirectory, `${appId}_daprd.log`),
      appLogDestination: 'console',
      daprdLogDestination: 'file',
      logDirectory,
    }
  }
  const [taskPort, notificationsPort] = [parsed.number('task-port'), parsed.number('notifications-port')]
  reporter.info(resources === '' ? `Components: the embedded defaults, SQLite in ${dataDir}` : `Components: ${resources}`)
  const plans = [
    plan('task-api', taskCommand, taskPort, parsed.number('task-sidecar-port')),
    plan('notifications', notificationsCommand, notificationsPort, parsed.number('notifications-sidecar-port')),
  ]
  const onReady = async (signal: AbortSignal) => {
    for (const { settings } of plans) {
      if (!(await waitUntilAccepts({ port: settings.appPort }, START_TIMEOUT, signal)) && !signal.aborted)
        throw new Error(`${settings.appId} does not listen on port ${settings.appPort} after ${START_TIMEOUT / 1000} s`)
      await untilHealthy(settings.daprHttpPort, settings.appId, signal)
    }
    if (signal.aborted) return
    reporter.plain(
      [
        '',
        'Both apps and their sidecars run. In another terminal:',
        '',
        '  # Create a task: saved through the sidecar, announced on the topic task-created',
        `  curl -X POST localhost:${taskPort}/tasks -H 'content-type: application/json' -d '{"title":"buy milk"}'`,
        '  # What the Notification Service did about it',
        `  curl localhost:${notificationsPort}/notifications`,
        '  # The same call through the sidecars, by name',
        `  curl localhost:${parsed.number('task-sidecar-port')}/v1.0/invoke/notifications/method/notifications`,
        '',
        'What happens shows below. Ctrl-C ends everything.',
        '',
      ].join('\n'),
    )
  }
  return runMany(plans, { reporter, together: true, onReady })
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  process.stderr.write(`${error.message}\nTry: npm start -- --help\n`)
  process.exitCode = 1
}
