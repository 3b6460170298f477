import { type ChildProcess, execFile, spawn } from 'node:child_process'
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

const commandOf = (program: string) => (program.endsWith('.py') ? join(folder, '.venv', 'bin', 'python') : process.execPath)

/** Runs a program of test/sdk/agents to its end, with `input` to read; gives what it printed. Rejects with its errors. */
export async function peer(program: string, args: readonly (string | number)[], input = ''): Promise<string> {
  const running = run(commandOf(program), [join(folder, program), ...args.map(String)], { cwd: folder, timeout: 60_000 })
  running.child.stdin?.end(input)
  return (await running).stdout
}

/** Starts a program of test/sdk/agents that goes on until it is killed; each line that it prints goes to `heard`. */
export function startPeer(program: string, args: readonly (string | number)[], heard: (line: string) => void): ChildProcess {
  const child = spawn(commandOf(program), [join(folder, program), ...args.map(String)], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() as string
    for (const line of lines) heard(line)
  })
  return child
}
