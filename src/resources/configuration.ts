import { readFile } from 'node:fs/promises'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Configuration, ConfigurationSpec } from './configuration-spec.ts'
import { schemaOf } from './schema.ts'

/** A Configuration that cannot be used; ends the start. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
}

export interface ConfigurationOptions {
  log?: Logger
  /** For `$VAR` and `${VAR}` in the files. Default: the process's. */
  env?: Readonly<Record<string, string | undefined>>
}

const ON_BY_DEFAULT = ['HotReload', 'WorkflowsRemoteActivityReminder']

/**
 * Reads the Configuration files of `--config`, later ones over earlier ones, onto daprd's defaults: mappings merge,
 * lists replace. Without a path: the defaults. Throws ConfigurationError naming file, line and column.
 */
export async function loadConfiguration(
  paths: string | readonly string[] | undefined,
  options: ConfigurationOptions = {},
): Promise<Configuration> {
  const files = paths === undefined ? [] : typeof paths === 'string' ? [paths] : paths
  const texts: { file: string; text: string }[] = []
  for (const file of files) texts.push({ file, text: expand(await readText(file), options.env ?? process.env) })
  return readConfigurations(texts, options)
}

/** The same of texts; `file` is where each is said to stand. */
export async function readConfigurations(
  texts: readonly { file: string; text: string }[],
  options: Pick<ConfigurationOptions, 'log'> = {},
): Promise<Configuration> {
  const names: string[] = []
  let spec: ConfigurationSpec = {}
  for (const { file, text } of texts) {
    const read = await readConfiguration(file, text, options)
    names.push(read.name)
    spec = merge(spec, read.spec) as ConfigurationSpec
  }
  check(spec)
  return complete(names, spec)
}

/** Whether a feature is switched on, by the file or by default. */
export function featureEnabled(configuration: Configuration, name: string): boolean {
  return configuration.features.get(name) ?? ON_BY_DEFAULT.includes(name)
}

function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigurationError(
      `error loading configuration: open ${file}: ${error.code === 'ENOENT' ? 'no such file or directory' : messageOf(error)}`,
    )
  })
}

async function readConfiguration(
  file: string,
  text: string,
  options: Pick<ConfigurationOptions, 'log'>,
): Promise<{ name: string; spec: ConfigurationSpec }> {
  const { splitDocuments } = await import('./documents.ts')
  const refuse = (line: number, column: number, message: string): never => {
    throw new ConfigurationError(`error loading configuration: ${file}:${line}:${column}: ${message}`)
  }
  const found: { name: string; spec: ConfigurationSpec }[] = []
  for (const document of splitDocuments(text)) {
    const [syntax] = document.syntaxErrors
    if (syntax) refuse(syntax.line, syntax.column, `not valid YAML: ${syntax.message}`)
    const kind = document.text(['kind'])
    if (kind !== 'Configuration') {
      options.log?.warn(`${file}:${document.line}:1: ${kind ?? 'a document without kind'} in a Configuration file is ignored`)
      continue
    }
    const schema = schemaOf('Configuration', document.text(['apiVersion']))
    if (!schema) return refuse(document.line, 1, 'apiVersion must be dapr.io/v1alpha1')
    const { value, problems, remarks } = document.read(schema)
    const [problem] = problems
    if (problem) refuse(problem.line, problem.column, problem.message)
    for (const remark of remarks) options.log?.warn(`${file}:${remark.line}:${remark.column}: Configuration: ${remark.message}`)
    const manifest = value as { metadata: { name: string }; spec?: ConfigurationSpec }
    found.push({ name: manifest.metadata.name, spec: manifest.spec ?? {} })
  }
  return found[0] ?? refuse(1, 1, 'no document with kind: Configuration')
}

/** Go's os.ExpandEnv: unknown names become empty, a lone dollar stays. */
function expand(text: string, env: Readonly<Record<string, string | undefined>>): string {
  return text.replace(
    /\$(?:\{([^}\n]*)\}|([A-Za-z_]\w*)|([*#$@!?\-0-9]))/g,
    (_, braced?: string, plain?: string, special?: string) => env[braced ?? plain ?? special ?? ''] ?? '',
  )
}

function merge(under: unknown, over: unknown): unknown {
  if (!isObject(under) || !isObject(over)) return over === undefined ? under : over
  const merged: Record<string, unknown> = { ...under }
  for (const [name, value] of Object.entries(over)) merged[name] = merge(merged[name], value)
  return merged
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function check(spec: ConfigurationSpec): void {
  const stores = new Set<string>()
  for (const { storeName } of spec.secrets?.scopes ?? []) {
    if (stores.has(storeName))
      throw new ConfigurationError(`storeName ${storeName} is repeated in spec.secrets.scopes; keep one scope for each store`)
    stores.add(storeName)
  }
  const incomplete = (spec.accessControl?.policies ?? []).flatMap((policy, index) => {
    const missing = (['appId', 'trustDomain', 'namespace'] as const).filter((name) => !policy[name])
    return missing.length > 0 ? [`policy ${index + 1} (${policy.appId || 'no appId'}) lacks ${missing.join(', ')}`] : []
  })
  if (incomplete.length > 0) throw new ConfigurationError(`invalid access control spec: ${incomplete.join('; ')}`)
}

function complete(names: readonly string[], spec: ConfigurationSpec): Configuration {
  const metrics = merge(spec.metric ?? {}, spec.metrics ?? {}) as NonNullable<ConfigurationSpec['metrics']>
  const logging = spec.logging?.apiLogging
  return {
    names,
    spec,
    httpPipeline: spec.httpPipeline?.handlers ?? [],
    appHttpPipeline: spec.appHttpPipeline?.handlers ?? [],
    tracing: {
      ...spec.tracing,
      stdout: spec.tracing?.stdout ?? false,
      otel: spec.tracing?.otel && {
        ...spec.tracing.otel,
        isSecure: spec.tracing.otel.isSecure ?? true,
        headers: headerPairs(spec.tracing.otel.headers),
      },
    },
    metrics: {
      enabled: metrics.enabled ?? true,
      recordErrorCodes: metrics.recordErrorCodes ?? false,
      http: {
        increasedCardinality: metrics.http?.increasedCardinality ?? true,
        pathMatching: metrics.http?.pathMatching ?? [],
        excludeVerbs: metrics.http?.excludeVerbs ?? false,
      },
      latencyDistributionBuckets: metrics.latencyDistributionBuckets,
      rules: metrics.rules ?? [],
    },
    secretScopes: spec.secrets?.scopes ?? [],
    accessControl: spec.accessControl,
    nameResolution: spec.nameResolution,
    features: new Map((spec.features ?? []).map((feature) => [feature.name, feature.enabled ?? false])),
    api: { allowed: spec.api?.allowed ?? [], denied: spec.api?.denied ?? [] },
    deniedComponents: spec.components?.deny ?? [],
    apiLogging: {
      enabled: logging?.enabled ?? false,
      obfuscateUrls: logging?.obfuscateURLs ?? false,
      omitHealthChecks: logging?.omitHealthChecks ?? false,
    },
  }
}

/** `name=value` texts, or name/value pairs as Kubernetes writes them. */
function headerPairs(headers: unknown): { name: string; value: string }[] {
  if (!Array.isArray(headers)) return []
  return headers.map((header: unknown) => {
    if (isObject(header)) return { name: String(header.name ?? ''), value: String(header.value ?? '') }
    const [name = '', ...rest] = String(header).split('=')
    return { name: name.trim(), value: rest.join('=').trim() }
  })
}
