import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import { addManifest, type Manifest } from './build.ts'
import { keyOf } from './changes.ts'
import type { SourceDocument } from './documents.ts'
import type { ComponentResource, HttpEndpointResource, McpServerResource, Rejection, Resource, Resources } from './kinds.ts'
import { withoutClashes } from './role-clashes.ts'
import { KINDS, OWN_KINDS, schemaOf } from './schema.ts'

export interface LoadOptions {
  /** Folders in order; each is read without its sub-folders. */
  paths: readonly string[]
  appId: string
  /** NAMESPACE as it is; empty turns the namespace filter off. */
  namespace: string
  log: Logger
  /** Goes on without a folder that is not there, with a warning. Default: throws. */
  mayMiss?: boolean
}

/** Resources that cannot be loaded at all: a missing folder, or names given twice. The message is daprd's. */
export class ResourcesError extends Error {
  override readonly name = 'ResourcesError'
}

/**
 * Reads every resource that belongs to this app. A document that cannot be used is logged with file, line and
 * column, listed in `rejected` and left out; the others load. Throws ResourcesError.
 */
export async function loadResources(options: LoadOptions): Promise<Resources> {
  const log = options.log.scope('dapr.runtime.loader.disk')
  const resources = emptyResources()
  for (const path of options.paths) {
    for (const file of await filesOf(path, options.mayMiss === true, log)) {
      try {
        const { splitDocuments } = await import('./documents.ts')
        for (const document of splitDocuments(await readFile(file, 'utf8'))) addDocument(resources, document, file, log)
      } catch (error) {
        reject(resources, log, { file, line: 1, column: 1, message: `cannot be read: ${messageOf(error)}` })
      }
    }
  }
  return keepOwn(resources, options, log)
}

/** Documents that no folder holds, such as an operator's; `file` is where each is said to stand. Else as `loadResources`. */
export async function readDocuments(
  documents: readonly { file: string; text: string }[],
  options: Pick<LoadOptions, 'appId' | 'namespace' | 'log'>,
): Promise<Resources> {
  const resources = emptyResources()
  const { splitDocuments } = await import('./documents.ts')
  for (const { file, text } of documents) for (const document of splitDocuments(text)) addDocument(resources, document, file, options.log)
  return keepOwn(resources, options, options.log)
}

/** Nothing of every kind. */
export function emptyResources(): Resources {
  return {
    components: [],
    subscriptions: [],
    resiliencies: [],
    httpEndpoints: [],
    mcpServers: [],
    workflowAccessPolicies: [],
    trafficPolicies: [],
    storeAndForwards: [],
    roles: [],
    rejected: [],
  }
}

/** How daprd names a component in messages: `name (type/version)`. */
export function componentLogName(component: Pick<ComponentResource, 'name' | 'type' | 'version'>): string {
  return `${component.name} (${component.type}/${component.version || 'v1'})`
}

async function filesOf(path: string, mayMiss: boolean, log: Logger): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (mayMiss && error.code === 'ENOENT') {
      log.warn(`resources folder ${path} is not there (yet); what it will hold is loaded when it comes`)
      return []
    }
    const reason = error.code === 'ENOENT' ? 'no such file or directory' : messageOf(error)
    throw new ResourcesError(`failed to load components: open ${path}: ${reason}`)
  })
  const files: string[] = []
  for (const entry of entries) {
    if (entry.isDirectory() || isFolderOfMount(entry.name)) continue
    if (/\.ya?ml$/.test(entry.name)) files.push(join(path, entry.name))
    else log.warn(`A non-YAML Component file ${entry.name} was detected, it will not be loaded`)
  }
  // Alphabetical by bytes, as Go lists a folder.
  return files.sort((left, right) => Buffer.compare(Buffer.from(basename(left)), Buffer.from(basename(right))))
}

/** Kubernetes mounts put `..data` beside the files, a link to a folder. */
function isFolderOfMount(name: string): boolean {
  return name.startsWith('..')
}

function addDocument(resources: Resources, document: SourceDocument, file: string, log: Logger): void {
  const kind = document.text(['kind'])
  const name = document.text(['metadata', 'name'])
  const refuse = (line: number, column: number, message: string) => reject(resources, log, { file, line, column, message, kind, name })
  const [syntax] = document.syntaxErrors
  if (syntax) return refuse(syntax.line, syntax.column, `not valid YAML: ${syntax.message}`)

  const apiVersion = document.text(['apiVersion'])
  if (!kind || !apiVersion)
    return refuse(
      document.line,
      1,
      `${kind ? 'apiVersion' : 'kind'} is missing: expected apiVersion: dapr.io/v1alpha1 and kind: one of ${KINDS.join(', ')}`,
    )
  const schema = schemaOf(kind, apiVersion)
  if (!schema) {
    const message = `${kind} of ${apiVersion} is not a kind that this sidecar reads; expected dapr.io/v1alpha1 (outrider.dev/v1 for ${OWN_KINDS.join(', ')}) and one of ${KINDS.join(', ')}`
    if (/^(dapr\.io|outrider\.dev)\//.test(apiVersion)) return refuse(document.line, 1, message)
    return log.debug(`${file}:${document.line}:1: ${message}; ignored`)
  }
  if (kind === 'Configuration')
    return log.debug(`${file}:${document.line}:1: Configuration ${name ?? ''} is ignored here: a Configuration is read from --config only`)

  const { value, problems, remarks } = document.read(schema)
  for (const remark of remarks) log.warn(`${file}:${remark.line}:${remark.column}: ${kind} ${name ?? ''}: ${remark.message}`)
  const [problem] = problems
  if (problem) {
    const all = problems.slice(0, 5).map((each, index) => (index === 0 ? each.message : `${each.line}:${each.column}: ${each.message}`))
    return refuse(
      problem.line,
      problem.column,
      `${kind === 'WorkflowAccessPolicy' ? `"${name}" failed validation: ` : ''}${all.join('; ')}`,
    )
  }
  const manifest = value as Manifest
  if (/^\.{1,2}$|[/%]/.test(manifest.metadata.name)) {
    return refuse(document.line, 1, `invalid name "${manifest.metadata.name}" for "${kind}": it may not be . or .. and may not hold / or %`)
  }
  const complaint = addManifest(resources, manifest, { file, line: document.line })
  if (!complaint) return
  const { line, column } = complaint.path ? document.positionOf(complaint.path) : { line: document.line, column: 1 }
  refuse(line, column, complaint.message)
}

function reject(resources: Resources, log: Logger, rejection: Rejection): void {
  resources.rejected.push(rejection)
  const { kind, name, file, line, column, message } = rejection
  const policy = kind === 'Resiliency' && name ? `Could not read resiliency policy ${name}: ` : ''
  log.error(
    `${policy}daprd load ${kind ?? 'resource'} error when parsing manifests yaml resource in ${file}:${line}:${column}: ${name ? `${kind} ${name}: ` : ''}${message} (left out; the rest loads)`,
  )
}

/** Only what this app and namespace may see; two of one name are fatal, as in daprd. Resiliency resources merge instead. */
function keepOwn(resources: Resources, options: Pick<LoadOptions, 'appId' | 'namespace'>, log: Logger): Resources {
  const duplicates: string[] = []
  const keep = <T extends Resource>(kind: string, all: readonly T[], describe: (resource: T) => string): T[] => {
    const names = new Map<string, T>()
    const kept = all.filter((resource) => {
      if (options.namespace !== '' && resource.namespace !== '' && resource.namespace !== options.namespace) return false
      if (resource.scopes.length > 0 && !resource.scopes.includes(options.appId)) return false
      const key = keyOf(resource)
      const existing = names.get(key)
      if (!existing) {
        names.set(key, resource)
        return true
      }
      duplicates.push(`duplicate definition of ${kind} name ${describe(resource)} with existing ${describe(existing)}`)
      const at = ({ source }: Resource) => `${source.file}:${source.line}`
      log.error(
        `${kind} ${resource.name} is defined at ${at(existing)} and again at ${at(resource)}: rename one, or give them scopes or namespaces that do not overlap`,
      )
      return false
    })
    return kept
  }
  const own: Resources = {
    components: keep('Component', resources.components, componentLogName),
    subscriptions: keep('Subscription', resources.subscriptions, ({ name }) => name),
    resiliencies: resources.resiliencies.filter(({ scopes }) => scopes.length === 0 || scopes.includes(options.appId)),
    httpEndpoints: keep(
      'HTTPEndpoint',
      resources.httpEndpoints,
      (endpoint: HttpEndpointResource) => `${endpoint.name} (${endpoint.baseUrl})`,
    ),
    mcpServers: keep('MCPServer', resources.mcpServers, mcpLogName),
    workflowAccessPolicies: keep('WorkflowAccessPolicy', resources.workflowAccessPolicies, ({ name }) => name),
    trafficPolicies: keep('TrafficPolicy', resources.trafficPolicies, ({ name }) => name),
    storeAndForwards: keep('StoreAndForward', resources.storeAndForwards, ({ name }) => name),
    roles: withoutClashes(
      keep('role', resources.roles, ({ kind, name }) => `${kind} ${name}`),
      (rejection) => reject(resources, log, rejection),
    ),
    rejected: resources.rejected,
  }
  if (duplicates.length > 0) throw new ResourcesError(`failed to load components: ${duplicates.join('\n')}`)
  return own
}

/** A server by its name and where it is. */
export function mcpLogName({ name, endpoint }: McpServerResource): string {
  return `${name} (${endpoint.streamableHTTP?.url ?? endpoint.sse?.url ?? endpoint.stdio?.command})`
}
