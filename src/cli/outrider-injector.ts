import { INJECTOR_FLAGS } from '../control/injector/flags.ts'
import { runInjector } from '../control/injector/run.ts'
import { runProgram } from '../control/program.ts'

await runProgram('outrider-injector', 'dapr-injector', INJECTOR_FLAGS, runInjector)
