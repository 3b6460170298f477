import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { lacks } from '../../../test/sdk/install.ts'

const folder = join(import.meta.dirname, '..', '..', '..', 'test', 'sdk', 'agents')
const run = promisify(execFile)

/** Why programs of test/sdk/agents cannot run here; false when they can. In CI that is a failure. */
export function peersMissing(): string | false {
  const what = lacks('agents') ?? false
  if (what && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${what}`)
  return what
}

/** Runs a program of test/sdk/agents to its end; gives what it printed. Rejects with its errors. */
export async function peer(program: string, args: readonly (string | number)[], signal?: AbortSignal): Promise<string> {
  const command = program.endsWith('.py') ? join(folder, '.venv', 'bin', 'python') : process.execPath
  const { stdout } = await run(command, [join(folder, program), ...args.map(String)], {
    cwd: folder,
    timeout: 60_000,
    ...(signal && { signal }),
  })
  return stdout
}
