import { runParsed } from '../control/program.ts'
import { parseTogetherFlags, TOGETHER_FLAGS } from '../control/together/flags.ts'
import { runTogether } from '../control/together/run.ts'

await runParsed({
  name: 'outrider-control',
  appId: 'dapr-control',
  table: TOGETHER_FLAGS,
  parse: parseTogetherFlags,
  common: (flags) => flags.common,
  run: runTogether,
})
