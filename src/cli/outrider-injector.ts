import { INJECTOR_FLAGS, runInjector } from '../control/injector/run.ts'
import { runProgram } from '../control/program.ts'

await runProgram('outrider-injector', 'dapr-injector', INJECTOR_FLAGS, runInjector)
