import { existsSync, statSync } from 'node:fs'
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import type { Component } from '../../components/component.ts'
import type { MetadataField } from '../../components/metadata.ts'
import { messageOf } from '../../errors.ts'
import { nearest } from '../../nearest.ts'
import { UsageError } from '../args.ts'
import { type Command, JSON_FLAG } from '../command.ts'
import { CommandError, type Reporter, table } from '../status.ts'

export const components: Command = {
  usage: 'components list|describe TYPE|check PATH [flags]',
  summary: 'Show the component types there are and their settings, or try components from a file or folder.',
  examples: [
    'outrider components list',
    'outrider components list state',
    'outrider components describe state.redis',
    '# Connects, and says in a sentence what is wrong',
    'outrider components check ./components/statestore.yaml',
  ],
  flags: [
    JSON_FLAG,
    { name: 'app-id', type: 'string', default: 'check', help: 'The app that components are tried for; scopes count' },
    { name: 'timeout', type: 'int', default: 10, help: 'Seconds for each component to come up' },
  ],
  run: async ({ parsed, reporter }) => {
    const [action, word] = parsed.words
    if (action === 'list') return list(word, parsed.on('json'), reporter)
    if (action === 'describe' && word) return describe(word, parsed.on('json'), reporter)
    if (action === 'check' && word) return check(word, parsed.text('app-id'), parsed.number('timeout') * 1000, reporter)
    throw new UsageError(
      action === undefined ? 'one of list, describe, check is missing' : `components ${action} is incomplete, or no such action`,
    )
  },
}

async function rows() {
  const { allDrivers } = await import('../../runtime/drivers.ts')
  return allDrivers()
}

async function list(prefix: string | undefined, json: boolean, reporter: Reporter): Promise<number> {
  const found = (await rows()).filter(({ type }) => prefix === undefined || type === prefix || type.startsWith(`${prefix}.`))
  if (found.length === 0) throw new CommandError(`no component type begins with ${prefix}`, 'outrider components list shows all')
  const lines = await Promise.all(found.map(async ({ type, versions, load }) => ({ type, versions, summary: (await load()).summary })))
  if (json) reporter.plain(JSON.stringify(lines, null, 2))
  else
    reporter.plain(
      table(
        ['TYPE', 'VERSIONS', ''],
        lines.map(({ type, versions, summary }) => [type, versions.join(', '), summary]),
      ),
    )
  return 0
}

async function describe(type: string, json: boolean, reporter: Reporter): Promise<number> {
  const all = await rows()
  const row = all.find((candidate) => candidate.type === type.toLowerCase())
  if (!row) {
    const near = nearest(
      type,
      all.map((candidate) => candidate.type),
    )
    throw new CommandError(`no component type ${type}`, near ? `did you mean ${near}?` : 'outrider components list shows all')
  }
  const { summary, metadata } = await row.load()
  if (json) {
    reporter.plain(JSON.stringify({ type: row.type, versions: row.versions, summary, metadata }, null, 2))
    return 0
  }
  reporter.plain(`${row.type} (${row.versions.join(', ')})\n${summary}\n`)
  reporter.plain(metadata.length === 0 ? 'No settings.' : table(['SETTING', 'KIND', 'DEFAULT', ''], metadata.map(fieldRow)))
  return 0
}

function fieldRow({ name, kind, values, required, default: fallback, description }: MetadataField): string[] {
  return [name, kind === 'enum' ? (values ?? []).join('|') : kind, required ? 'required' : (fallback ?? ''), description]
}

/** Loads what the path holds as a sidecar would, each component on its own; exit code 1 when one does not come up. */
async function check(path: string, appId: string, timeout: number, reporter: Reporter): Promise<number> {
  if (!existsSync(path)) throw new CommandError(`no file or folder ${path}`, 'give the YAML of one component, or a folder of them')
  const [{ loadResources }, { createLogger }, { ComponentManager }, { loadComponents }] = await Promise.all([
    import('../../resources/load.ts'),
    import('../../telemetry/log.ts'),
    import('../../runtime/component-manager.ts'),
    import('../../runtime/load-components.ts'),
  ])
  const log = createLogger({ level: 'fatal', json: false, appId, version: '', write: () => {} })
  const folder = await asFolder(path)
  const namespace = process.env.NAMESPACE ?? ''
  let failed = 0
  try {
    const resources = await loadResources({ paths: [folder.path], appId, namespace, log })
    for (const { line, message } of resources.rejected) {
      failed++
      reporter.failure(`${path}:${line}: ${message}`)
    }
    if (resources.components.length === 0 && failed === 0)
      throw new CommandError(`${path} holds no component for app ${appId}`, 'look at kind, and at the scopes of the components')
    const manager = new ComponentManager({ appId, namespace, log, retryUnreachable: false })
    const stores = resources.components.filter(({ type }) => type.startsWith('secretstores.'))
    for (const component of resources.components) {
      const began = performance.now()
      const title = `${component.name} (${component.type})`
      try {
        const needed = stores.filter((store) => store !== component && !manager.set('secretstores').has(store.name))
        const asked = { ...component, ignoreErrors: false, initTimeoutMs: Math.min(component.initTimeoutMs, timeout) }
        await loadComponents([...needed, asked], {
          manager,
          log,
          appId,
          namespace,
          podName: process.env.POD_NAME ?? '',
          env: process.env,
          denied: [],
        })
        // Some come up without asking their server, as under Dapr: etcd's.
        const loaded = manager.set<Component>(component.type.slice(0, component.type.indexOf('.'))).get(component.name)?.component
        await loaded?.ping?.(AbortSignal.timeout(timeout))
        reporter.success(`${title} is up after ${Math.round(performance.now() - began)} ms`)
      } catch (error) {
        failed++
        reporter.failure(`${title}: ${reason(messageOf(error))}`)
      }
    }
    await manager.close()
  } finally {
    await folder[Symbol.asyncDispose]()
  }
  return failed === 0 ? 0 : 1
}

/** What a sidecar would log, without the titles around it. */
function reason(text: string): string {
  return text.replace(/^(process component [^:]+ error: )?(\[INIT_COMPONENT_FAILURE\]: initialization error occurred for [^)]*\): ?)*/, '')
}

/** Resources are read from folders: a file gets one of its own for a moment. */
async function asFolder(path: string): Promise<{ path: string } & AsyncDisposable> {
  if (statSync(path).isDirectory()) return { path, async [Symbol.asyncDispose]() {} }
  const folder = await mkdtemp(join(tmpdir(), 'outrider-check-'))
  await symlink(resolve(path), join(folder, basename(path)))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}
