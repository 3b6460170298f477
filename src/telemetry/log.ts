import { hostname } from 'node:os'

export type Level = 'debug' | 'info' | 'warning' | 'error' | 'fatal'
const ORDER: Record<Level, number> = { debug: 0, info: 1, warning: 2, error: 3, fatal: 4 }

/** A level by the words that people use; undefined: none of them. */
export function levelOf(text: string): Level | undefined {
  const word = text.trim().toLowerCase()
  const level = word === 'warn' ? 'warning' : word
  return Object.hasOwn(ORDER, level) ? (level as Level) : undefined
}

/** A scoped writer of log lines in daprd's text or JSON format. */
export interface Logger {
  debug(message: string): void
  /** `fields` stand beside the members that every line has. */
  info(message: string, fields?: Readonly<Record<string, string | number>>): void
  warn(message: string): void
  error(message: string): void
  fatal(message: string): void
  /** Another logger with this scope, e.g. `dapr.runtime`. */
  scope(name: string): Logger
  readonly enabled: (level: Level) => boolean
  /** From now on lines below this level are left out, in all scopes. */
  setLevel?(level: Level): void
}

export interface LogOptions {
  level: Level
  json: boolean
  appId: string
  version: string
  /** Takes one finished line without its newline. Default: standard output. */
  write?: (line: string) => void
}

/** Go's %q as logrus uses it: quotes only what needs quoting. */
function quote(text: string): string {
  return /^[a-zA-Z0-9\-._/@^+]+$/.test(text) ? text : JSON.stringify(text)
}

/** As JSON, members by name: the order in which Dapr's lines have them. */
function sorted(members: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(members, Object.keys(members).sort())
}

/** Makes the root logger of one process; scope defaults to `dapr.runtime`. */
export function createLogger(options: LogOptions): Logger {
  const instance = hostname()
  const write = options.write ?? ((line: string) => void process.stdout.write(`${line}\n`))
  let lowest = options.level
  const enabled = (level: Level) => ORDER[level] >= ORDER[lowest]
  const setLevel = (level: Level) => {
    lowest = level
  }
  const make = (scope: string): Logger => {
    const emit = (level: Level, message: string, fields?: Readonly<Record<string, string | number>>) => {
      if (!enabled(level)) return
      const time = new Date().toISOString().replace('Z', '000000Z')
      if (options.json) {
        const members = { app_id: options.appId, instance, level, msg: message, scope, time, type: 'log', ver: options.version }
        write(fields ? sorted({ ...members, ...fields }) : JSON.stringify(members))
      } else if (fields) {
        const members = { app_id: options.appId, instance, scope, type: 'log', ver: options.version, ...fields }
        const rest = Object.entries(members).sort(([one], [other]) => (one < other ? -1 : 1))
        write(
          `time="${time}" level=${level} msg=${quote(message)} ${rest.map(([name, value]) => `${name}=${quote(String(value))}`).join(' ')}`,
        )
      } else {
        write(
          `time="${time}" level=${level} msg=${quote(message)} app_id=${quote(options.appId)} instance=${quote(instance)} scope=${scope} type=log ver=${options.version}`,
        )
      }
    }
    return {
      debug: (message) => emit('debug', message),
      info: (message, fields) => emit('info', message, fields),
      warn: (message) => emit('warning', message),
      error: (message) => emit('error', message),
      fatal: (message) => emit('fatal', message),
      scope: make,
      enabled,
      setLevel,
    }
  }
  return make('dapr.runtime')
}
