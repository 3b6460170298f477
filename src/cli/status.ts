export type Status = 'success' | 'failure' | 'warning' | 'pending' | 'info'

const SYMBOL: Record<Status, string> = { success: '✅', failure: '❌', warning: '⚠', pending: '⌛', info: 'ℹ️' }

/** Anything that takes text: a stream, a log file, both. */
export interface Writer {
  write(text: string): unknown
}

/** Prints the lines that people read and scripts wait for, in the form of Dapr's tool. */
export interface Reporter {
  success(message: string): void
  failure(message: string): void
  warning(message: string): void
  pending(message: string): void
  info(message: string): void
  /** A line as it is: tables, answers. */
  plain(line: string): void
}

export interface ReporterOptions {
  json?: boolean
  out?: Writer
  /** Where failures go. Default: standard error. */
  err?: Writer
  /** Whether lines carry the symbol; files and file-and-console pairs do not. Default true. */
  symbols?: boolean
}

/** Makes the printer of status lines: symbol, two spaces, message; or one JSON object a line. */
export function createReporter(options: ReporterOptions = {}): Reporter {
  const out = options.out ?? process.stdout
  const err = options.err ?? process.stderr
  const line = (status: Status, message: string) => {
    const writer = status === 'failure' ? err : out
    if (options.json) writer.write(`${JSON.stringify({ time: new Date().toISOString(), status, msg: message })}\n`)
    else writer.write(options.symbols === false ? `${message}\n` : `${SYMBOL[status]}  ${message}\n`)
  }
  return {
    success: (message) => line('success', message),
    failure: (message) => line('failure', message),
    warning: (message) => line('warning', message),
    pending: (message) => line('pending', message),
    info: (message) => line('info', message),
    plain: (text) => void out.write(`${text}\n`),
  }
}

/** Whether coloured text is wanted on standard output: a terminal, no NO_COLOR, not a dumb one. */
export function coloursWanted(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

/** A problem the command has a message for: printed as a failure, exit code 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** What to do next; printed on a line of its own. */
  readonly hint: string | undefined
  constructor(message: string, hint?: string) {
    super(message)
    this.hint = hint
  }
}

/** Columns of text: headers, left-aligned, two spaces after each cell; columns empty in every row are left out. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map((cell) => cell.replace(/\s+/g, ' ').trim()))
  const kept = headers.map((_, column) => column).filter((column) => clean.length === 0 || clean.some((row) => row[column] !== ''))
  const all = [headers, ...clean]
  const widths = kept.map((column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all.map((row) => kept.map((column, place) => `${(row[column] ?? '').padEnd(widths[place] as number)}  `).join('')).join('\n')
}
