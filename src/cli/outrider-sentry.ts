import { runProgram } from '../control/program.ts'
import { SENTRY_FLAGS } from '../control/sentry/flags.ts'
import { runSentry } from '../control/sentry/run.ts'

await runProgram('outrider-sentry', 'dapr-sentry', SENTRY_FLAGS, runSentry)
