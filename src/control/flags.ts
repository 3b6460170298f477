import { parseDuration } from '../components/metadata.ts'
import { nearest } from '../nearest.ts'

/** One flag of a program of the control plane, written as Go takes it: `-name=value`, `--name value`. */
export type ControlFlag =
  | { readonly kind: 'text'; readonly default: string; readonly description: string }
  | { readonly kind: 'port'; readonly default: number; readonly description: string }
  | { readonly kind: 'count'; readonly default: number; readonly description: string }
  | { readonly kind: 'switch'; readonly default: boolean; readonly description: string }
  /** In milliseconds; the default as it is written. */
  | { readonly kind: 'duration'; readonly default: number; readonly description: string }

export type ControlFlags = Readonly<Record<string, ControlFlag>>
export type FlagValues<F extends ControlFlags> = {
  readonly [K in keyof F]: F[K] extends { kind: 'text' } ? string : F[K] extends { kind: 'switch' } ? boolean : number
}

/** A command line that cannot be followed. */
export class ControlFlagError extends Error {
  override readonly name = 'ControlFlagError'
}

/** Flags that every program of the control plane has. */
export const COMMON_FLAGS = {
  'log-level': { kind: 'text', default: 'info', description: 'debug, info, warn, error or fatal.' },
  'log-as-json': { kind: 'switch', default: false, description: 'Log lines as JSON.' },
  'enable-metrics': { kind: 'switch', default: true, description: 'Serves metrics.' },
  'metrics-port': { kind: 'port', default: 9090, description: 'Port of the metrics.' },
  'metrics-listen-address': { kind: 'text', default: '0.0.0.0', description: 'Address of the metrics.' },
  'healthz-port': { kind: 'port', default: 8080, description: 'Port of /healthz.' },
  'healthz-listen-address': { kind: 'text', default: '', description: 'Address of /healthz; empty: all.' },
  kubeconfig: { kind: 'text', default: '', description: 'Path of a kubeconfig; empty: the pod’s service account, then ~/.kube/config.' },
} as const satisfies ControlFlags

/** Reads a command line; throws ControlFlagError naming the flag. */
export function parseControlFlags<F extends ControlFlags>(flags: F, argv: readonly string[]): FlagValues<F> {
  return { ...defaultsOf(flags), ...givenFlags(flags, argv) }
}

export function defaultsOf<F extends ControlFlags>(flags: F): FlagValues<F> {
  return Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, flag.default])) as FlagValues<F>
}

/** What a command line says, without the defaults; throws ControlFlagError naming the flag. */
export function givenFlags<F extends ControlFlags>(flags: F, argv: readonly string[]): Partial<FlagValues<F>> {
  const values: Record<string, string | number | boolean> = {}
  for (let index = 0; index < argv.length; index++) {
    const [, name, , given] = /^--?([^=-][^=]*)(=(.*))?$/s.exec(argv[index] as string) ?? []
    if (name === undefined) throw new ControlFlagError(`"${argv[index]}" is no flag; they are written --name=value`)
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined
    if (!flag) {
      const near = nearest(name, Object.keys(flags))
      throw new ControlFlagError(`unknown flag: --${name}${near ? `; did you mean --${near}?` : '; see --help for all of them'}`)
    }
    const text = given ?? (flag.kind === 'switch' ? 'true' : argv[++index])
    if (text === undefined) throw new ControlFlagError(`flag needs an argument: --${name}`)
    values[name] = parseValue(name, flag, text)
  }
  return values as Partial<FlagValues<F>>
}

/** The table of --help. */
export function controlUsage(program: string, flags: ControlFlags): string {
  const rows = Object.entries(flags).map(([name, flag]) => {
    const fallback = flag.default === '' ? '' : ` (default ${flag.default})`
    return `  --${name}\n        ${flag.description}${fallback}`
  })
  return [`Usage: ${program} [flags]`, '', ...rows].join('\n')
}

function parseValue(name: string, { kind }: ControlFlag, text: string): string | number | boolean {
  const refuse = (expected: string): never => {
    throw new ControlFlagError(`invalid argument "${text}" for "--${name}" flag: expected ${expected}`)
  }
  switch (kind) {
    case 'text':
      return text
    case 'port':
      return /^\d+$/.test(text) && Number(text) <= 65_535 ? Number(text) : refuse('a port between 0 and 65535')
    case 'count':
      return /^\d+$/.test(text) ? Number(text) : refuse('a whole number')
    case 'duration':
      return (/^\d+$/.test(text) && text !== '0' ? undefined : parseDuration(text)) ?? refuse('a duration such as 30s or 10h')
    default:
      if (/^(1|t|true)$/i.test(text)) return true
      return /^(0|f|false)$/i.test(text) ? false : refuse('true or false')
  }
}
