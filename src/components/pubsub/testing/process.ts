import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

export interface Child {
  process: ChildProcess
  /** Every whole line printed so far. */
  lines: string[]
  /** Waits for that many lines. */
  until(count: number): Promise<void>
  /** SIGKILL, and waits until it is gone and its output is read. */
  kill(): Promise<void>
}

/** Starts `child.ts`; its arguments are told there. */
export function startChild(
  type: string,
  role: 'publish' | 'hold' | 'echo',
  topic: string,
  count: number,
  properties: Record<string, string>,
): Child {
  const child = spawn(
    process.execPath,
    [new URL('child.ts', import.meta.url).pathname, type, role, topic, String(count), JSON.stringify(properties)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const closed = once(child, 'close')
  const lines: string[] = []
  const waiters = new Set<() => void>()
  const wake = () => {
    for (const one of waiters) one()
    waiters.clear()
  }
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    wake()
  })
  return {
    process: child,
    lines,
    until: async (wanted) => {
      while (lines.length < wanted) {
        if (child.exitCode !== null) throw new Error(`the child ended with ${child.exitCode} after ${lines.length} lines`)
        await new Promise<void>((resolve) => waiters.add(resolve))
      }
    },
    kill: async () => {
      child.kill('SIGKILL')
      await closed
    },
  }
}
