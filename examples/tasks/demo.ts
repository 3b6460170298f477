import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Instances } from '../../src/cli/instances.ts'
import { freePorts } from '../../src/cli/ports.ts'
import { stopGroup } from '../../src/cli/process.ts'

/** Both services with their sidecars, as `npm start` starts them, for tests. */
export interface Demo extends AsyncDisposable {
  dataDir: string
  /** Sends one task through both services and reads it back; gives its id. */
  task(title: string): Promise<string>
  /** A task as the Task API gives it. */
  read(id: string): Promise<unknown>
  /** What the sidecars have loaded, by component name: equal in both, else it throws. */
  types(): Promise<Record<string, string>>
  /** Waits until both sidecars have these components, and the subscription of the Notification Service runs on them. */
  until(types: Readonly<Record<string, string>>): Promise<void>
  /** The processes of apps and sidecars. */
  pids(): number[]
  /** Ctrl-C. */
  end(): Promise<void>
}

interface Health {
  state: string
  parts: { kind: string; name: string; detail: string; state: string }[]
}

/** Starts both services on a folder of YAML, or on the embedded components. */
export async function startDemo(dataDir: string, resources?: string): Promise<Demo> {
  const [task, notifications, taskSidecar, notificationsSidecar] = (await freePorts(4)) as [number, number, number, number]
  const ports = { task, notifications, 'task-sidecar': taskSidecar, 'notifications-sidecar': notificationsSidecar }
  const flags = Object.entries(ports).flatMap(([port, number]) => [`--${port}-port`, String(number)])
  if (resources) flags.push('--resources', resources)
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, 'start.ts'), '--data-dir', dataDir, ...flags], {
    env: { ...process.env, RESOURCES: '', FAIL_FIRST: '', TASK_APP: '', NOTIFICATIONS_APP: '' },
  })
  let output = ''
  let wake = () => {}
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      wake()
    })
  }
  let over = false
  const ended = once(child, 'close').then(([code]) => {
    over = true
    wake()
    return code as number | null
  })
  const says = async (text: string) => {
    while (!output.includes(text)) {
      if (over) assert.fail(`the demo ended without saying ${text}:\n${output}\n${sidecarLogs(dataDir)}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  const get = async <T>(port: number, path: string) => (await (await fetch(`http://127.0.0.1:${port}${path}`)).json()) as T
  const health = (port: number) => get<Health>(port, '/v1.0/healthz?verbose')
  const typesOf = ({ parts }: Health) =>
    Object.fromEntries(parts.filter(({ kind }) => kind === 'component').map(({ name, detail }) => [name, detail]))
  await says('Ctrl-C ends everything.')

  const demo: Demo = {
    dataDir,
    async task(title) {
      const created = await fetch(`http://127.0.0.1:${task}/tasks`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ title }),
      })
      const text = await created.text()
      assert.equal(created.status, 201, `${text}\n${sidecarLogs(dataDir)}`)
      const { id } = JSON.parse(text) as { id: string }
      await says(`received task-created for ${id}`)
      assert.deepEqual(await get(task, `/tasks/${id}`), { id, title, status: 'notified' })
      const shown = await get<{ taskId: string }[]>(notifications, '/notifications')
      assert.ok(
        shown.some((one) => one.taskId === id),
        JSON.stringify(shown),
      )
      return id
    },
    read: (id) => get(task, `/tasks/${id}`),
    async types() {
      const [one, other] = [typesOf(await health(taskSidecar)), typesOf(await health(notificationsSidecar))]
      assert.deepEqual(one, other)
      return one
    },
    async until(types) {
      for (const end = performance.now() + 30_000; ; ) {
        const both = [await health(taskSidecar), await health(notificationsSidecar)]
        const loaded = both.every(({ parts }) =>
          Object.entries(types).every(([component, type]) =>
            parts.some(({ name, detail, state }) => name === component && detail === type && state === 'up'),
          ),
        )
        const listens = both[1]?.parts.some(({ kind, state }) => kind === 'subscription' && state === 'up')
        if (loaded && listens && both.every(({ state }) => state === 'ready')) return
        if (performance.now() > end) assert.fail(`still not on ${JSON.stringify(types)}: ${JSON.stringify(both)}\n${sidecarLogs(dataDir)}`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
    pids: () => new Instances(dataDir).running().flatMap(({ appPid, daprdPid }) => [appPid, daprdPid]),
    async end() {
      child.kill('SIGINT')
      assert.equal(await ended, 0, output)
    },
    async [Symbol.asyncDispose]() {
      if (over) return
      // A test that failed half-way leaves nothing running.
      const pids = demo.pids()
      child.kill('SIGKILL')
      for (const pid of pids) if (pid) await stopGroup(pid, 0)
    },
  }
  return demo
}

/** A set of the demo's YAML in `folder`, with other addresses in it; nothing else is changed. Fails when `from` isn't in any file. */
export function yaml(set: string, folder: string, changes: Readonly<Record<string, string>>): string {
  cpSync(join(import.meta.dirname, 'resources', set), folder, { recursive: true })
  for (const [from, to] of Object.entries(changes)) {
    const files = readdirSync(folder).filter((name) => readFileSync(join(folder, name), 'utf8').includes(from))
    assert.notEqual(files.length, 0, `no file of resources/${set} says ${from}`)
    for (const name of files) writeFileSync(join(folder, name), readFileSync(join(folder, name), 'utf8').replaceAll(from, to))
  }
  return folder
}

function sidecarLogs(dataDir: string): string {
  const folder = join(dataDir, 'logs')
  return readdirSync(folder)
    .map((name) => `${name}:\n${readFileSync(join(folder, name), 'utf8')}`)
    .join('\n')
}
