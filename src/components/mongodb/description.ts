/** What a server says it is (Server Discovery and Monitoring specification). */
export interface Description {
  kind: 'standalone' | 'mongos' | 'primary' | 'secondary' | 'other' | 'ghost'
  setName: string | undefined
  /** Members of its replica set that hold data or decide. */
  hosts: string[]
  /** How the set calls it. */
  me: string | undefined
  primary: string | undefined
  setVersion: number
  /** Hexadecimal, later elections being larger; '' where there is none. */
  electionId: string
  /** Milliseconds after which it forgets sessions; undefined: it has none. */
  sessions: number | undefined
  tags: Readonly<Record<string, unknown>>
  wireVersion: number
  largestDocument: number
  /** Milliseconds. */
  roundTrip: number
}

/** MongoDB 4.2: the first with updates by a pipeline. */
const LEAST_WIRE = 8

/** Reads the answer to `hello`. Throws on servers that are too old. */
export function describe(hello: Readonly<Record<string, unknown>>, roundTrip: number): Description {
  const wireVersion = numberOf(hello.maxWireVersion, 0)
  if (wireVersion < LEAST_WIRE) throw new Error(`the server is older than MongoDB 4.2 (wire version ${wireVersion}): use a newer one`)
  const sessions = hello.logicalSessionTimeoutMinutes
  return {
    kind: kindOf(hello),
    setName: textOf(hello.setName),
    hosts: [hello.hosts, hello.passives, hello.arbiters].flatMap((list) =>
      Array.isArray(list) ? list.map((one) => String(one).toLowerCase()) : [],
    ),
    me: textOf(hello.me)?.toLowerCase(),
    primary: textOf(hello.primary)?.toLowerCase(),
    setVersion: numberOf(hello.setVersion, 0),
    electionId: textOf(hello.electionId) ?? '',
    sessions: typeof sessions === 'number' ? sessions * 60_000 : undefined,
    tags: typeof hello.tags === 'object' && hello.tags !== null ? (hello.tags as Record<string, unknown>) : {},
    wireVersion,
    largestDocument: numberOf(hello.maxBsonObjectSize, 16 << 20),
    roundTrip,
  }
}

function kindOf(hello: Readonly<Record<string, unknown>>): Description['kind'] {
  if (hello.msg === 'isdbgrid') return 'mongos'
  if (hello.isreplicaset === true) return 'ghost'
  if (typeof hello.setName !== 'string') return 'standalone'
  if (hello.hidden === true) return 'other'
  if (hello.ismaster === true || hello.isWritablePrimary === true) return 'primary'
  return hello.secondary === true ? 'secondary' : 'other'
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function numberOf(value: unknown, otherwise: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise
}
