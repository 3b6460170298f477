/** A server that tests talk to: its address in the form its kind documents, and how to end it. */
export interface RunningServer {
  address: string
  /** Ends the server and removes its folder; nothing for a server named by the environment. */
  stop(): Promise<void>
}

/** One kind of server the tests need: where to find it and how to start one that belongs to the caller. */
export interface ServerKind {
  name: string
  /** Environment variable that names a server already running, and the form of its value. */
  variable: string
  form: string
  /** What to install when there is none. */
  wants: string
  /** Starts slowly, so that `npm test` starts it once for all test files. */
  shared?: true
  /** In no package registry: a bare machine cannot install it, so its tests are skipped by name even where servers are required. */
  unlisted?: true
  /** Whether this machine can start one. */
  available(): boolean
  /** Starts one on free ports of 127.0.0.1. The caller may stop, pause or kill it, and has to stop it. */
  start(): Promise<RunningServer>
}

/**
 * The server of a kind that a test uses with others: the one in the kind's variable, else one of its own.
 * Undefined when there is neither, so that the caller skips by name; with OUTRIDER_REQUIRE_SERVERS=1 that throws.
 * Names of topics, keys and tables have to be the test's own.
 */
export async function serverOf(kind: ServerKind): Promise<RunningServer | undefined> {
  const given = process.env[kind.variable]
  if (given) return { address: given, stop: async () => {} }
  return ownServer(kind)
}

/** A server that belongs to the caller alone, for tests that cut it off or end it. Undefined and throws as {@link serverOf}. */
export async function ownServer(kind: ServerKind): Promise<RunningServer | undefined> {
  if (kind.available()) return kind.start()
  if (process.env.OUTRIDER_REQUIRE_SERVERS === '1' && !kind.unlisted) {
    throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${kind.name} is not on this machine: ${help(kind)}`)
  }
  return undefined
}

/** What brings the server of a kind to the tests. */
export function help(kind: ServerKind): string {
  return `install ${kind.wants}, or set ${kind.variable}=${kind.form}`
}
