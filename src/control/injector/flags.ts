import { COMMON_FLAGS, type ControlFlags } from '../flags.ts'

/** Dapr's flags. */
export const INJECTOR_FLAGS = {
  ...COMMON_FLAGS,
  port: { kind: 'port', default: 4000, description: 'Port of the admission webhook.' },
  'listen-address': { kind: 'text', default: '', description: 'Address of the admission webhook; empty: all.' },
  'scheduler-enabled': { kind: 'switch', default: true, description: 'There is a scheduler; sidecars get its address.' },
} as const satisfies ControlFlags
