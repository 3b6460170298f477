import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  timeDeltas: number[]
}

/** The .cpuprofile in a directory; undefined when there is none. */
export function profileIn(directory: string): string | undefined {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.cpuprofile'))
    .map((name) => join(directory, name))
    .at(-1)
}

/** The functions that a profile spent most time in themselves, as shares of the time the process was busy. */
export function topFunctions(file: string, count: number): string[] {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]))
  const totals = new Map<string, number>()
  let busy = 0
  profile.samples.forEach((sample, index) => {
    const frame = frames.get(sample)
    if (!frame || frame.functionName === '(idle)' || frame.functionName === '(program)') return
    const place = frame.url === '' ? '' : ` ${frame.url.replace(/^.*\/(src|node_modules)\//, '$1/')}:${frame.lineNumber + 1}`
    const name = `${frame.functionName || '(anonymous)'}${place}`
    const time = profile.timeDeltas[index] ?? 0
    busy += time
    totals.set(name, (totals.get(name) ?? 0) + time)
  })
  return [...totals]
    .sort((a, b) => b[1] - a[1])
    .slice(0, count)
    .map(([name, time]) => `${((time / busy) * 100).toFixed(1).padStart(5)} %  ${name}`)
}
