import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { processStamp, stillRuns } from './process.ts'

/** A sidecar that this tool started, as `list`, `stop`, `invoke` and `publish` find it. */
export interface Instance {
  appId: string
  httpPort: number
  grpcPort: number
  appPort: number
  metricsEnabled: boolean
  command: string
  /** ISO 8601. */
  created: string
  daprdPid: number
  cliPid: number
  /** 0: no app, or not started yet. */
  appPid: number
  socket?: string
  runTemplatePath: string
  runTemplateName: string
  appLogPath: string
  daprdLogPath: string
}

interface Recorded extends Instance {
  stamps: { daprd: string; cli: string; app: string }
}

/** The running instances of one data folder: a small JSON file each under `run/`. */
export class Instances {
  readonly #folder: string

  constructor(dataDir: string) {
    this.#folder = join(dataDir, 'run')
  }

  /** Writes the instance's file, replacing an earlier one of the same sidecar. */
  record(instance: Instance): void {
    mkdirSync(this.#folder, { recursive: true })
    const recorded: Recorded = {
      ...instance,
      stamps: { daprd: processStamp(instance.daprdPid), cli: processStamp(instance.cliPid), app: processStamp(instance.appPid) },
    }
    // A reader never sees half a file.
    const half = join(this.#folder, `.${instance.daprdPid}.${process.pid}`)
    writeFileSync(half, JSON.stringify(recorded))
    renameSync(half, this.#file(instance))
  }

  /** Takes the instance's file away; one that is gone is no error. */
  forget(instance: Instance): void {
    rmSync(this.#file(instance), { force: true })
  }

  /** The instances of which the sidecar or the app still runs, oldest first; files of others are removed. Pids of ended processes are 0. */
  running(): Instance[] {
    const found: Instance[] = []
    for (const name of this.#names()) {
      const path = join(this.#folder, name)
      const recorded = read(path)
      if (!recorded) continue
      const { stamps, ...instance } = recorded
      if (!stillRuns(instance.daprdPid, stamps.daprd)) instance.daprdPid = 0
      if (!stillRuns(instance.appPid, stamps.app)) instance.appPid = 0
      if (!stillRuns(instance.cliPid, stamps.cli)) instance.cliPid = 0
      if (instance.daprdPid === 0 && instance.appPid === 0) rmSync(path, { force: true })
      else found.push(instance)
    }
    return found.sort((a, b) => (a.created < b.created ? -1 : 1))
  }

  /** The running instance of this app id; without an id the only one there is. */
  find(appId: string): Instance | undefined {
    const running = this.running().filter((instance) => instance.daprdPid !== 0)
    if (appId !== '') return running.find((instance) => instance.appId === appId)
    return running.length === 1 ? running[0] : undefined
  }

  #file(instance: Instance): string {
    return join(this.#folder, `${encodeURIComponent(instance.appId)}-${instance.daprdPid}.json`)
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder).filter((name) => name.endsWith('.json'))
    } catch {
      return []
    }
  }
}

function read(path: string): Recorded | undefined {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Recorded
    return typeof value.appId === 'string' && typeof value.daprdPid === 'number' && typeof value.stamps === 'object' ? value : undefined
  } catch {
    return undefined
  }
}
