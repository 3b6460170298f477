import { COMMON_FLAGS, ControlFlagError, type ControlFlags, defaultsOf, type FlagValues, givenFlags } from '../flags.ts'
import { INJECTOR_FLAGS } from '../injector/flags.ts'
import { OPERATOR_FLAGS } from '../operator/flags.ts'
import { SENTRY_FLAGS } from '../sentry/flags.ts'

const PROGRAMS = { sentry: SENTRY_FLAGS, operator: OPERATOR_FLAGS, injector: INJECTOR_FLAGS } as const
export type ControlProgram = keyof typeof PROGRAMS
const NAMES = Object.keys(PROGRAMS) as ControlProgram[]

const SWITCHES = {
  sentry: { kind: 'switch', default: true, description: 'The certificate authority runs in this process.' },
  operator: { kind: 'switch', default: true, description: 'The operator runs in this process.' },
  injector: { kind: 'switch', default: true, description: 'The sidecar injector runs in this process.' },
} as const satisfies ControlFlags

/** Where they differ from what a program says by itself: it runs in a cluster. */
const DEFAULTS = { sentry: { mode: 'kubernetes', 'trust-domain': 'cluster.local' }, operator: {}, injector: {} }

/**
 * Flags of one process for all: the common ones once, each of a program under its own name and with the program's before it
 * (`--operator-port`). A name that several have counts for all of them; of ports only the longer name says which.
 */
export const TOGETHER_FLAGS: ControlFlags = {
  ...COMMON_FLAGS,
  ...SWITCHES,
  ...Object.assign({}, ...NAMES.map((program) => ownFlags(program))),
}

export interface TogetherFlags {
  readonly common: FlagValues<typeof COMMON_FLAGS>
  readonly wanted: Readonly<Record<ControlProgram, boolean>>
  readonly sentry: FlagValues<typeof SENTRY_FLAGS>
  readonly operator: FlagValues<typeof OPERATOR_FLAGS>
  readonly injector: FlagValues<typeof INJECTOR_FLAGS>
}

/** Reads a command line; throws ControlFlagError naming the flag. */
export function parseTogetherFlags(argv: readonly string[]): TogetherFlags {
  const given = givenFlags(TOGETHER_FLAGS, argv)
  if ('port' in given)
    throw new ControlFlagError(`--port could be that of each program; write ${NAMES.map((name) => `--${name}-port`).join(', ')}`)
  const of = <F extends ControlFlags>(program: ControlProgram, flags: F): FlagValues<F> => {
    const own = Object.keys(flags).flatMap((name) => {
      const value = given[`${program}-${name}`] ?? given[name]
      return value === undefined ? [] : [[name, value]]
    })
    return { ...defaultsOf(flags), ...DEFAULTS[program], ...Object.fromEntries(own) }
  }
  const common = of('sentry', COMMON_FLAGS)
  const switches = { ...defaultsOf(SWITCHES), ...given }
  const wanted = { sentry: switches.sentry === true, operator: switches.operator === true, injector: switches.injector === true }
  if (!NAMES.some((name) => wanted[name])) throw new ControlFlagError(`nothing is left to run; leave one of ${NAMES.join(', ')} on`)
  if (wanted.sentry && of('sentry', SENTRY_FLAGS).mode !== 'kubernetes')
    throw new ControlFlagError('--mode is standalone, but the programs together are for a cluster; run outrider-sentry by itself for that')
  return {
    common,
    wanted,
    sentry: of('sentry', SENTRY_FLAGS),
    operator: of('operator', OPERATOR_FLAGS),
    injector: of('injector', INJECTOR_FLAGS),
  }
}

function ownFlags(program: ControlProgram): ControlFlags {
  const own = Object.entries(PROGRAMS[program] as ControlFlags).filter(([name]) => !Object.hasOwn(COMMON_FLAGS, name))
  const defaults = DEFAULTS[program] as Readonly<Record<string, string>>
  return Object.fromEntries(
    own.flatMap(([name, flag]) => {
      const value = defaults[name] === undefined ? flag : ({ ...flag, default: defaults[name] } as typeof flag)
      return [
        [name, value],
        [`${program}-${name}`, { ...value, description: `${value.description} Of the ${program} alone.` }],
      ]
    }),
  )
}
