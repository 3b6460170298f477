import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Floors by folder of src/, see ARCHITECTURE.md; imports go down or stay. */
const FLOORS: Readonly<Record<string, number>> = {
  cli: 7,
  runtime: 6,
  control: 6,
  api: 5,
  proxy: 5,
  agent: 5,
  dashboard: 5,
  blocks: 4,
  app: 3,
  peers: 3,
  components: 2,
  policy: 2,
  resources: 1,
  telemetry: 1,
  transport: 1,
  storage: 1,
}

/** Files that stand lower than their folder: words that every floor shares. */
const LOWER_FILES: Readonly<Record<string, number>> = {
  'components/metadata.ts': 1,
  'components/component.ts': 1,
  'components/sets.ts': 1,
}

/** Files whose types may be used from below, because they are the shape in which the upper floor hands its wishes down. */
const TYPES_FOR_ALL = [/^cli\/flags\.ts$/, /^blocks\/[^/]+\/driver\.ts$/]

/** Libraries that belong to drivers and where they may be imported. */
const DRIVER_LIBRARIES: Readonly<Record<string, RegExp>> = {
  ioredis: /^components\/redis\//,
  pg: /^components\//,
  mysql2: /^components\/mysql\//,
  croner: /^components\//,
  amqplib: /^components\//,
  '@nats-io': /^components\//,
  // A peer in tests.
  mongodb: /\.test\.ts$/,
}

/** What tests share; the program never loads it. */
const ONLY_TESTS = /(harness|chat-server)\.ts$/

/** Component folders that are named unlike their block. */
const BLOCK_OF: Readonly<Record<string, string>> = { secretstores: 'secrets' }

/** Component folders that are no block: what lies in their folders is for drivers to share. */
const SHARED = new Set(['azure'])

interface Import {
  specifier: string
  typeOnly: boolean
  dynamic: boolean
  /** Imported names that are needed at run time; empty when unknown. */
  values: readonly string[]
  line: number
}

/** What is wrong, where, and what would be right. */
export interface Violation {
  file: string
  line: number
  message: string
}

/** Checks the imports of every source file under `root` (the folder that holds src's folders). Tests are free. */
export function checkArchitecture(root: string): Violation[] {
  const violations: Violation[] = []
  const graph = new Map<string, string[]>()
  const files = sources(root)
  for (const file of files) {
    const edges: string[] = []
    graph.set(file, edges)
    for (const found of importsOf(readFileSync(join(root, file), 'utf8'))) {
      const complain = (message: string) => violations.push({ file, line: found.line, message })
      if (!found.specifier.startsWith('.')) {
        const library = found.specifier.split('/')[0] as string
        const allowed = DRIVER_LIBRARIES[library]
        if (allowed && !allowed.test(file)) complain(`${library} is imported outside the drivers; only ${allowed.source} may`)
        if (found.specifier === 'node:http' && !found.typeOnly && !ONLY_TESTS.test(file))
          complain('node:http loads fetch and WebSocket with it; import what you need of transport/node-http.ts')
        continue
      }
      const target = relative(root, resolve(root, dirname(file), found.specifier))
        .split(sep)
        .join('/')
      if (target.startsWith('..')) continue
      if (!found.typeOnly && !found.dynamic) edges.push(target)
      const complaint = complaintAbout(file, target, found)
      if (complaint) complain(complaint)
    }
  }
  return [...violations, ...cycles(graph)]
}

function complaintAbout(file: string, target: string, found: Import): string | undefined {
  const driver = /^components\/([^/]+)\/([^/]+)\//.exec(target)
  if (driver && !SHARED.has(driver[1] as string) && !file.startsWith(driver[0]) && file !== `components/${driver[1]}/registry.ts`) {
    return `${target} is inside the driver ${driver[2]}; only components/${driver[1]}/registry.ts names it`
  }
  const from = floorOf(file)
  const to = floorOf(target)
  if (from === undefined) return `${file} stands on no floor; add its folder to scripts/architecture.ts and ARCHITECTURE.md`
  if (to === undefined || to <= from) return undefined
  const shared = TYPES_FOR_ALL.some((pattern) => pattern.test(target))
  if (shared && found.typeOnly) return undefined
  // A driver may use the words of its own block: types, and the error classes and constant tables of the interface.
  const own = /^components\/([^/]+)\//.exec(file)?.[1]
  if (found.typeOnly && own && target.startsWith(`blocks/${BLOCK_OF[own] ?? own}/`)) return undefined
  const onlyWords = found.values.length > 0 && found.values.every((name) => /^[A-Z]/.test(name))
  if (shared && onlyWords && file.startsWith('components/')) return undefined
  return `imports up: floor ${from} may not know ${target} on floor ${to}${shared ? ' except its types' : ''}`
}

function floorOf(file: string): number | undefined {
  const folder = file.split('/')[0] as string
  // errors.ts and version.ts lie on the ground.
  return LOWER_FILES[file] ?? (file.includes('/') ? FLOORS[folder] : 0)
}

function sources(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(sep).join('/'))
    .filter(
      (file) =>
        file.endsWith('.ts') && !file.endsWith('.d.ts') && !/\.test\.ts$|(^|\/)(testing|test-[^/]*|conformance[^/]*)(\/|\.ts$)/.test(file),
    )
    .sort()
}

const STATEMENT =
  /^[ \t]*(import|export)\s+(type\s+)?((?:[\w$*\s,]|\{[^}]*\})*?)\s*from\s*['"]([^'"]+)['"]|^[ \t]*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm

function importsOf(text: string): Import[] {
  return [...text.matchAll(STATEMENT)].map((match) => {
    const [whole, , type, clause = '', from, bare, dynamic] = match
    const inner = /\{([^}]*)\}/.exec(clause)?.[1]
    const names = (inner ?? '')
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
    const values = names.filter((name) => !name.startsWith('type ')).map((name) => name.split(/\s+as\s+/)[0] as string)
    const onlyInlineTypes = names.length > 0 && values.length === 0 && clause.trim().startsWith('{')
    const offset = (match.index ?? 0) + whole.length - whole.trimStart().length
    return {
      specifier: (from ?? bare ?? dynamic) as string,
      typeOnly: type !== undefined || onlyInlineTypes,
      dynamic: dynamic !== undefined,
      values: clause.trim().startsWith('{') ? values : [],
      line: text.slice(0, offset).split('\n').length,
    }
  })
}

/** One violation for each group of files that import each other when they load. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): Violation[] {
  const found: Violation[] = []
  const done = new Set<string>()
  const visit = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file)
    if (start >= 0) {
      found.push({ file, line: 1, message: `import cycle: ${[...trail.slice(start), file].join(' → ')}` })
      return
    }
    if (done.has(file)) return
    for (const target of graph.get(file) ?? []) visit(target, [...trail, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return found
}

if (import.meta.main) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', 'src')
  const violations = checkArchitecture(root)
  for (const { file, line, message } of violations) console.error(`src/${file}:${line}: ${message}`)
  console.log(violations.length === 0 ? 'architecture: every import goes down' : `architecture: ${violations.length} violations`)
  process.exitCode = violations.length === 0 ? 0 : 1
}
