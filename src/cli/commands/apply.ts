import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { messageOf } from '../../errors.ts'
import { changesBetween } from '../../resources/changes.ts'
import type { Rejection, Resources } from '../../resources/kinds.ts'
import { loadResources } from '../../resources/load.ts'
import { createLogger } from '../../telemetry/log.ts'
import { UsageError } from '../args.ts'
import { APP_ID_FLAG, type Command, DATA_DIR_FLAG } from '../command.ts'
import { type HealthReport, healthReport } from '../health-report.ts'
import { sidecarOf } from '../payload.ts'
import type { SidecarAddress } from '../sidecar-client.ts'
import { CommandError, type Reporter } from '../status.ts'

export const apply: Command = {
  usage: 'apply FILE|FOLDER... [flags]',
  summary: 'Put resource files into the folder that a running sidecar follows, or show what that would change.',
  examples: [
    '# What would change',
    'outrider apply new/ --app-id tasks --dry-run',
    'outrider apply new/store.yaml --app-id tasks',
    '# To check files without changing anything',
    'outrider apply components/ --dry-run --dapr-http-port 3500',
  ],
  flags: [
    APP_ID_FLAG,
    { name: 'dapr-http-port', type: 'string', help: 'Port of its HTTP API, for a sidecar that outrider run has not started' },
    { name: 'dry-run', type: 'boolean', help: 'Only show what would change' },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const files = parsed.words.flatMap(yamlFiles)
    if (files.length === 0) throw new UsageError('name the files or folders to apply')
    const appId = parsed.text('app-id')
    const port = Number(parsed.text('dapr-http-port'))
    const sidecar = port > 0 ? { httpPort: port } : sidecarOf(parsed, appId, `app ID ${appId} not found`)
    const report = await healthReport(sidecar)
    const [target] = report.resources
    if (target === undefined)
      throw new CommandError(`sidecar ${report.id} follows no folder`, 'start it with --resources-path, the folder to put resources into')
    const difference = await differenceOf(report, files)
    for (const { file, line, column, message } of difference.rejected) reporter.failure(`${file}:${line}:${column}: ${message}`)
    for (const line of difference.lines) reporter.plain(line)
    if (difference.lines.length === 0) reporter.info('Nothing changes')
    if (difference.rejected.length > 0) return 1
    if (parsed.on('dry-run') || difference.lines.length === 0) return 0
    for (const file of files) put(file, target)
    reporter.info(`${files.length} file${files.length === 1 ? '' : 's'} put into ${target}`)
    return followed(sidecar, report, reporter)
  },
}

function yamlFiles(path: string): string[] {
  if (!existsSync(path)) throw new CommandError(`${path} is not there`)
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort()
    .map((name) => join(path, name))
}

/** A whole file or none: the sidecar never reads half of it. */
function put(file: string, folder: string): void {
  mkdirSync(folder, { recursive: true })
  const half = join(folder, `.${basename(file)}.${process.pid}`)
  copyFileSync(file, half)
  renameSync(half, join(folder, basename(file)))
}

/** Reads the sidecar's folders as they are, and as they would be with the files in the first of them. */
async function differenceOf(report: HealthReport, files: readonly string[]): Promise<{ lines: string[]; rejected: Rejection[] }> {
  const scratch = mkdtempSync(join(tmpdir(), 'outrider-apply-'))
  try {
    const [first, ...rest] = report.resources as [string, ...string[]]
    const merged = join(scratch, 'merged')
    mkdirSync(merged)
    if (existsSync(first)) for (const file of yamlFiles(first)) copyFileSync(file, join(merged, basename(file)))
    for (const file of files) copyFileSync(file, join(merged, basename(file)))
    const before = await read(report.id, [first, ...rest])
    const after = await read(report.id, [merged, ...rest])
    const given = new Map(files.map((file) => [basename(file), file]))
    const real = (file: string) => (dirname(file) === merged ? (given.get(basename(file)) ?? join(first, basename(file))) : file)
    const mark = { add: '+', change: '~', delete: '-' }
    return {
      lines: changesBetween(before, after).map(
        ({ kind, name, action, after: now }) =>
          `${mark[action]} ${kind} ${name}${now ? ` (${real(now.source.file)}:${now.source.line})` : ''}`,
      ),
      rejected: after.rejected.map((one) => ({ ...one, file: real(one.file) })).filter(({ file }) => files.includes(file)),
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function read(appId: string, paths: readonly string[]): Promise<Resources> {
  const log = createLogger({ level: 'fatal', json: false, appId, version: '' })
  try {
    return await loadResources({ paths, appId, namespace: process.env.NAMESPACE ?? '', log, mayMiss: true })
  } catch (error) {
    throw new CommandError(messageOf(error))
  }
}

/** Waits until the sidecar has looked at the files, a few seconds at most, and says what it made of them. */
async function followed(sidecar: SidecarAddress, before: HealthReport, reporter: Reporter): Promise<number> {
  const looked = ({ reloads }: HealthReport) => `${reloads.lastSuccess} ${reloads.lastFailure}`
  for (const end = Date.now() + 5000; Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    const now = await healthReport(sidecar)
    if (looked(now) === looked(before)) continue
    for (const reason of now.reasons) reporter.warning(reason)
    if (now.reasons.length === 0) reporter.success(`${now.id} is ${now.state}`)
    return now.reasons.length === 0 ? 0 : 1
  }
  throw new CommandError(
    'the sidecar has not looked at the files',
    'does its Configuration switch the feature HotReload off? Then restart it',
  )
}
