import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Instances } from '../../src/cli/instances.ts'
import { freePorts } from '../../src/cli/ports.ts'
import { stillRuns, stopGroup } from '../../src/cli/process.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'outrider-tasks-'))
after(async () => {
  // A test that failed half-way leaves nothing running.
  for (const one of new Instances(dataDir).running()) for (const pid of [one.daprdPid, one.appPid]) if (pid) await stopGroup(pid, 0)
  rmSync(dataDir, { recursive: true, force: true })
})

interface Notification {
  taskId: string
  title: string
  attempts: number
}

function start(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'start.ts'), '--data-dir', dataDir, ...args], {
    env: { ...process.env, ...env },
  })
  const output = { text: '' }
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output.text += chunk
      for (const wake of waiting) wake()
    })
  }
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const says = async (text: string) => {
    while (!output.text.includes(text)) {
      const more = new Promise<'more'>((done) => waiting.add(() => done('more')))
      const what = await Promise.race([more, ended.then(() => 'ended' as const)])
      waiting.clear()
      if (what === 'ended' && !output.text.includes(text))
        assert.fail(`the demo ended without saying ${text}:\n${output.text}\n${sidecarLogs()}`)
    }
  }
  return { child, output, ended, says }
}

function sidecarLogs(): string {
  const folder = join(dataDir, 'logs')
  return readdirSync(folder)
    .map((name) => `${name}:\n${readFileSync(join(folder, name), 'utf8')}`)
    .join('\n')
}

test('a task travels through both services and back, retries included; Ctrl-C leaves nothing behind', { timeout: 60_000 }, async () => {
  const [task, notifications, taskSidecar, notificationsSidecar] = await freePorts(4)
  const ports = [
    '--task-port',
    task,
    '--notifications-port',
    notifications,
    '--task-sidecar-port',
    taskSidecar,
    '--notifications-sidecar-port',
    notificationsSidecar,
  ].map(String)
  const demo = start(ports, { FAIL_FIRST: '2' })
  await demo.says('Ctrl-C ends everything.')
  assert.match(demo.output.text, /Started Dapr with app id "task-api"/)
  assert.match(demo.output.text, /Started Dapr with app id "notifications"/)

  const created = await fetch(`http://127.0.0.1:${task}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"title":"buy milk"}',
  })
  const { id } = (await created.json()) as { id: string }
  assert.equal(created.status, 201)
  await demo.says(`received task-created for ${id}`)
  const shown = (await (await fetch(`http://127.0.0.1:${notifications}/notifications`)).json()) as Notification[]
  assert.deepEqual(
    shown.map((one) => [one.taskId, one.title, one.attempts]),
    [[id, 'buy milk', 3]],
  )
  const stored = (await (await fetch(`http://127.0.0.1:${task}/tasks/${id}`)).json()) as { status: string }
  assert.equal(stored.status, 'notified')
  const unkeyed = await fetch(`http://127.0.0.1:${task}/tasks/${id}/notified`, { method: 'POST', body: '{}' })
  assert.equal(unkeyed.status, 401)

  const running = new Instances(dataDir).running()
  assert.equal(running.length, 2)
  demo.child.kill('SIGINT')
  assert.equal(await demo.ended, 0, demo.output.text)
  for (const one of running)
    for (const pid of [one.daprdPid, one.appPid]) assert.equal(stillRuns(pid, ''), false, `process ${pid} of ${one.appId} still runs`)
  assert.deepEqual(new Instances(dataDir).running(), [])
})

test('a taken port is named together with the way to choose another', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const [a, b, c] = await freePorts(3)
  const demo = start([
    '--task-port',
    String(port),
    ...['--notifications-port', a, '--task-sidecar-port', b, '--notifications-sidecar-port', c].map(String),
  ])
  assert.equal(await demo.ended, 1)
  server.close()
  assert.ok(
    demo.output.text.includes(
      `Port ${port} for the Task API is taken: choose another one with npm start -- --task-port N, or TASK_PORT=N npm start`,
    ),
    demo.output.text,
  )
})
