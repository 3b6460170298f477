import { OPERATOR_FLAGS } from '../control/operator/flags.ts'
import { runOperator } from '../control/operator/run.ts'
import { runProgram } from '../control/program.ts'

await runProgram('outrider-operator', 'dapr-operator', OPERATOR_FLAGS, runOperator)
