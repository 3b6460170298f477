import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { isMap, isScalar, isSeq, parseDocument, type YAMLMap } from 'yaml'
import { messageOf } from '../errors.ts'
import { daprDirectory, fromBase } from './paths.ts'
import type { Destination, ManyPlan } from './run-many.ts'
import { chooseDefaults, emptySettings, type Settings } from './settings.ts'
import { CommandError } from './status.ts'

/** A run file as read: its apps as plans, ports still to be chosen. */
export interface RunFile {
  path: string
  name: string
  plans: ManyPlan[]
  /** Lines worth telling, e.g. which defaults were taken. */
  notes: string[]
}

type Fields = Record<string, unknown>

const TEXT_FIELDS = [
  ['appProtocol', 'appProtocol'],
  ['apiListenAddresses', 'apiListenAddresses'],
  ['logLevel', 'logLevel'],
  ['placementHostAddress', 'placementHostAddress'],
  ['schedulerHostAddress', 'schedulerHostAddress'],
  ['maxBodySize', 'maxBodySize'],
  ['readBufferSize', 'readBufferSize'],
  ['appHealthCheckPath', 'appHealthCheckPath'],
  ['unixDomainSocket', 'unixDomainSocket'],
  ['appChannelAddress', 'appChannelAddress'],
] as const satisfies readonly (readonly [string, keyof Settings])[]
const NUMBER_FIELDS = [
  ['appPort', 'appPort'],
  ['daprHTTPPort', 'daprHttpPort'],
  ['daprGRPCPort', 'daprGrpcPort'],
  ['daprInternalGRPCPort', 'daprInternalGrpcPort'],
  ['metricsPort', 'metricsPort'],
  ['profilePort', 'profilePort'],
  ['appMaxConcurrency', 'appMaxConcurrency'],
  ['appHealthProbeInterval', 'appHealthProbeInterval'],
  ['appHealthProbeTimeout', 'appHealthProbeTimeout'],
  ['appHealthThreshold', 'appHealthThreshold'],
] as const satisfies readonly (readonly [string, keyof Settings])[]
const SWITCH_FIELDS = [
  ['enableProfiling', 'enableProfiling'],
  ['enableApiLogging', 'enableApiLogging'],
  ['enableAppHealthCheck', 'enableAppHealthCheck'],
  ['appSSL', 'appSsl'],
  ['outriderEmbedded', 'embedded'],
] as const satisfies readonly (readonly [string, keyof Settings])[]

/** Keys that only an app has; in `common` they mean nothing. */
const APP_ONLY = new Set([
  'appPort',
  'daprHTTPPort',
  'daprGRPCPort',
  'daprInternalGRPCPort',
  'metricsPort',
  'profilePort',
  'unixDomainSocket',
  'appChannelAddress',
])

/** The file that `-f` means: `-` is standard input, a folder its dapr.yaml. Throws CommandError. */
export function locateRunFile(given: string, cwd = process.cwd()): string {
  if (given === '-') return join(cwd, '-')
  const fail = (text: string) =>
    new CommandError(`Failed to get run file path: ${text}`, 'name a run file (.yaml), or a folder that has a dapr.yaml')
  const path = resolve(cwd, given)
  if (!existsSync(path)) throw fail(`error getting file info for ${given}: stat ${given}: no such file or directory`)
  if (statSync(path).isDirectory()) {
    const inside = join(path, 'dapr.yaml')
    if (existsSync(inside)) return inside
    throw fail(
      `error in validating the file path "${inside}": error in getting the file info for ${inside}: stat ${inside}: no such file or directory`,
    )
  }
  if (!/\.ya?ml$/.test(path)) throw fail(`file "${given}" is not a YAML file`)
  return path
}

/** Reads and checks a run file; nothing is started. Throws CommandError with the words of Dapr's tool. */
export function readRunFile(path: string, dataDir: string): RunFile {
  let text: string
  try {
    text = readFileSync(basename(path) === '-' ? 0 : path, 'utf8')
  } catch (error) {
    throw problem(`error in reading the provided app config ${basename(path) === '-' ? 'from stdin' : 'file'}: ${messageOf(error)}`)
  }
  return parseRunFile(text, path, dataDir)
}

/** Plans of a run file's text; `path` is where it stands, for relative paths. */
export function parseRunFile(text: string, path: string, dataDir: string): RunFile {
  const document = parseDocument(text, { version: '1.1' })
  const [error] = document.errors
  if (error) throw problem(`error in parsing the provided app config file: yaml: ${error.message.split('\n')[0]}`)
  const root = isMap(document.contents) ? fieldsOf(document.contents) : {}
  if (!root.version) throw problem("required field 'version' not found in the provided run template file")
  const base = dirname(path)
  const name = typeof root.name === 'string' ? root.name : ''
  const common = record(root.common)
  for (const key of APP_ONLY) delete common[key]
  const apps = Array.isArray(root.apps) ? root.apps.map(record) : []
  const notes = new Set<string>()
  const plans = apps.map((app) => planOf(app, common, { base, path, name, dataDir, notes }))
  return { path, name, plans, notes: [...notes] }
}

interface Surroundings {
  base: string
  path: string
  name: string
  dataDir: string
  notes: Set<string>
}

function planOf(app: Fields, common: Fields, around: Surroundings): ManyPlan {
  if (typeof app.appDirPath !== 'string' || app.appDirPath === '')
    throw problem("required field 'appDirPath' not found in the provided app config file")
  const appDir = existing(fromBase(around.base, app.appDirPath))
  const appId = textOf(app.appID) || basename(appDir)
  const settings = emptySettings(appId, around.dataDir)
  // A value of its type's zero counts as absent, in an app as in `common`.
  const inherited = (key: string): unknown => (isZero(app[key]) ? common[key] : app[key])
  for (const [key, field] of TEXT_FIELDS)
    settings[field] =
      key === 'schedulerHostAddress' || key === 'placementHostAddress' ? textOf(app[key] ?? common[key]) : textOf(inherited(key))
  for (const [key, field] of NUMBER_FIELDS) settings[field] = numberOf(key, inherited(key))
  for (const [key, field] of SWITCH_FIELDS) settings[field] = inherited(key) === true

  settings.config =
    firstOf(
      pathsIn(app, ['configFilePath'], appDir),
      ifThere(join(appDir, '.dapr', 'config.yaml')),
      pathsIn(common, ['configFilePath'], around.base),
    )[0] ?? ''
  settings.resourcesPaths = firstOf(
    pathsIn(app, ['resourcesPaths', 'resourcesPath'], appDir),
    ifThere(join(appDir, '.dapr', 'resources')),
    pathsIn(common, ['resourcesPaths', 'resourcesPath'], around.base),
  )
  const runtimePath = pathsIn(app, ['runtimePath'], appDir)[0] ?? pathsIn(common, ['runtimePath'], around.base)[0] ?? ''
  const note = chooseDefaults(settings, daprDirectory(runtimePath))
  if (note) around.notes.add(note)

  const policy = textOf(inherited('containerImagePullPolicy'))
  if (policy !== '' && !['Always', 'Never', 'IfNotPresent'].includes(policy)) {
    throw problem(`invalid containerImagePullPolicy: ${policy}, allowed values: Always, Never, IfNotPresent`)
  }
  const command = app.command ?? []
  if (!Array.isArray(command))
    throw problem(`error in parsing the provided app config file: yaml: command of app "${appId}" is not a list of words`)
  const appLogDestination = destination(inherited('appLogDestination'), 'fileAndConsole')
  const daprdLogDestination = destination(inherited('daprdLogDestination'), 'file')
  const logDirectory = join(appDir, '.dapr', 'logs')
  const stamp = timestamp(new Date())
  return {
    settings,
    command: command.map(textOf),
    cwd: appDir,
    env: { ...variables(common.env), ...variables(app.env) },
    runTemplatePath: around.path,
    runTemplateName: around.name,
    appLogPath: appLogDestination === 'console' || command.length === 0 ? '' : join(logDirectory, `${appId}_app_${stamp}.log`),
    daprdLogPath: daprdLogDestination === 'console' ? '' : join(logDirectory, `${appId}_daprd_${stamp}.log`),
    appLogDestination,
    daprdLogDestination,
    logDirectory,
  }
}

function problem(text: string): CommandError {
  return new CommandError(
    `Error getting apps from config file: ${text}`,
    'correct the run file; paths in it start at its own folder, those of an app at its appDirPath',
  )
}

/** A YAML map as plain values; the values of `env` and `command` keep their written text. */
function fieldsOf(map: YAMLMap, verbatim = false): Fields {
  const fields: Fields = {}
  for (const { key, value } of map.items) {
    const name = isScalar(key) ? String(key.value) : String(key)
    fields[name] = plain(value, verbatim || name === 'env' || name === 'command')
  }
  return fields
}

function plain(node: unknown, verbatim: boolean): unknown {
  if (isMap(node)) return fieldsOf(node, verbatim)
  if (isSeq(node)) return node.items.map((item) => plain(item, verbatim))
  if (!isScalar(node)) return undefined
  // To YAML 1.1 a lone dot is a number without digits; here it is a folder.
  if (node.source === '.') return '.'
  if (verbatim && typeof node.value !== 'string' && node.value !== null) return node.source ?? String(node.value)
  return node.value ?? undefined
}

function record(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

function isZero(value: unknown): boolean {
  return (
    value === undefined || value === null || value === '' || value === 0 || value === false || (Array.isArray(value) && value.length === 0)
  )
}

function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : String(value)
}

function numberOf(key: string, value: unknown): number {
  if (isZero(value)) return 0
  if (typeof value === 'number' && Number.isInteger(value)) return value
  throw problem(`error in parsing the provided app config file: yaml: ${key} is ${JSON.stringify(value)}, not a whole number`)
}

function variables(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(record(value)).map(([name, text]) => [name, textOf(text)]))
}

function destination(value: unknown, fallback: Destination): Destination {
  const text = textOf(value)
  if (text === '') return fallback
  if (text === 'file' || text === 'console' || text === 'fileAndConsole') return text
  throw problem(`invalid log destination type: ${text}`)
}

function pathsIn(section: Fields, keys: readonly string[], base: string): string[] {
  const given = keys.flatMap((key) => (Array.isArray(section[key]) ? section[key].map(textOf) : [textOf(section[key])]))
  return given.filter((path) => path !== '').map((path) => existing(fromBase(base, path)))
}

function existing(path: string): string {
  const clean = resolve(path)
  if (existsSync(clean)) return clean
  throw problem(`error in getting the file info for ${clean}: stat ${clean}: no such file or directory`)
}

function ifThere(path: string): string[] {
  return existsSync(path) ? [path] : []
}

/** Levels are never merged: the first that says anything counts. */
function firstOf(...levels: string[][]): string[] {
  return levels.find((paths) => paths.length > 0) ?? []
}

function timestamp(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`
}
