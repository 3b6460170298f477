import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Redis } from 'ioredis'
import pg from 'pg'
import { Instances } from '../../src/cli/instances.ts'
import { freePorts } from '../../src/cli/ports.ts'
import { stopGroup } from '../../src/cli/process.ts'
import { postgresServer } from '../../test/servers/postgres.ts'
import { redisServer } from '../../test/servers/redis.ts'

// The two services, untouched, on three sets of components; every time the data is looked for where the YAML says it is.

const limit = { timeout: 90_000 }
const home = mkdtempSync(join(tmpdir(), 'outrider-swap-'))
const redis = await redisServer()
const postgres = await postgresServer()
const demos: ChildProcess[] = []
after(async () => {
  // A test that failed half-way leaves nothing running.
  for (const demo of demos) if (demo.exitCode === null) demo.kill('SIGKILL')
  for (const name of readdirSync(home)) {
    for (const one of new Instances(join(home, name)).running())
      for (const pid of [one.daprdPid, one.appPid]) if (pid) await stopGroup(pid, 0)
  }
  await redis?.stop()
  await postgres?.stop()
  rmSync(home, { recursive: true, force: true })
})

const SQL_STATE = "SELECT convert_from(value, 'UTF8') AS value FROM state WHERE key = $1"

interface Done {
  /** Of the task that was created, announced and marked. */
  id: string
  /** What the Task API's sidecar says it has loaded, by component name. */
  types: Record<string, string>
  dataDir: string
}

/** The demo's YAML with another address in it; nothing else is changed. Fails when `from` isn't in any file. */
function yaml(set: 'redis' | 'postgresql', changes: Readonly<Record<string, string>>): string {
  const folder = join(home, `${set}-yaml`)
  cpSync(join(import.meta.dirname, 'resources', set), folder, { recursive: true })
  for (const [from, to] of Object.entries(changes)) {
    const files = readdirSync(folder).filter((name) => readFileSync(join(folder, name), 'utf8').includes(from))
    assert.notEqual(files.length, 0, `no file of resources/${set} says ${from}`)
    for (const name of files) writeFileSync(join(folder, name), readFileSync(join(folder, name), 'utf8').replaceAll(from, to))
  }
  return folder
}

/** Starts both services on a folder of YAML (or nothing), sends one task through both, reads it back, and ends them. */
async function runDemo(name: string, resources?: string): Promise<Done> {
  const dataDir = join(home, name)
  const [task, notifications, taskSidecar, notificationsSidecar] = await freePorts(4)
  const ports = { task, notifications, 'task-sidecar': taskSidecar, 'notifications-sidecar': notificationsSidecar }
  const flags = Object.entries(ports).flatMap(([port, number]) => [`--${port}-port`, String(number)])
  if (resources) flags.push('--resources', resources)
  const demo = spawn(process.execPath, [join(import.meta.dirname, 'start.ts'), '--data-dir', dataDir, ...flags], {
    env: { ...process.env, RESOURCES: '', FAIL_FIRST: '', TASK_APP: '', NOTIFICATIONS_APP: '' },
  })
  demos.push(demo)
  let output = ''
  let wake = () => {}
  for (const stream of [demo.stdout, demo.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      wake()
    })
  }
  let over = false
  const ended = once(demo, 'close').then(([code]) => {
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
  await says('Ctrl-C ends everything.')

  const created = await fetch(`http://127.0.0.1:${task}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ title: `buy milk (${name})` }),
  })
  const { id } = (await created.json()) as { id: string }
  assert.equal(created.status, 201, sidecarLogs(dataDir))
  await says(`received task-created for ${id}`)
  const stored = await (await fetch(`http://127.0.0.1:${task}/tasks/${id}`)).json()
  assert.deepEqual(stored, { id, title: `buy milk (${name})`, status: 'notified' })
  const shown = (await (await fetch(`http://127.0.0.1:${notifications}/notifications`)).json()) as { taskId: string }[]
  assert.ok(
    shown.some((one) => one.taskId === id),
    JSON.stringify(shown),
  )

  const metadata = (await (await fetch(`http://127.0.0.1:${taskSidecar}/v1.0/metadata`)).json()) as {
    components: { name: string; type: string }[]
  }
  demo.kill('SIGINT')
  assert.equal(await ended, 0, output)
  return { id, types: Object.fromEntries(metadata.components.map((one) => [one.name, one.type])), dataDir }
}

function sidecarLogs(dataDir: string): string {
  const folder = join(dataDir, 'logs')
  return readdirSync(folder)
    .map((name) => `${name}:\n${readFileSync(join(folder, name), 'utf8')}`)
    .join('\n')
}

/** Whether any file below the folder holds the text; the demo's own log files don't count. */
function holds(folder: string, text: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.log'))
    .some((entry) => readFileSync(join(entry.parentPath, entry.name)).includes(text))
}

test('with nothing configured the task is in SQLite, in the data folder', limit, async () => {
  const { id, types, dataDir } = await runDemo('embedded')
  assert.equal(types.statestore, 'state.sqlite')
  assert.equal(types.pubsub, 'pubsub.sqlite')
  assert.ok(holds(dataDir, `task-api||${id}`), `no file in ${dataDir} holds the task`)
})

test('with the Redis YAML the task is in Redis, and so is its event', {
  ...limit,
  skip: redis ? false : 'redis-server is not on this machine',
}, async () => {
  assert.ok(redis)
  const { id, types, dataDir } = await runDemo('redis', yaml('redis', { 'localhost:6379': `${redis.host}:${redis.port}` }))
  assert.equal(types.statestore, 'state.redis')
  assert.equal(types.pubsub, 'pubsub.redis')
  const client = new Redis({ host: redis.host, port: redis.port })
  try {
    const { data, version } = await client.hgetall(`task-api||${id}`)
    assert.deepEqual(JSON.parse(data as string), { id, title: 'buy milk (redis)', status: 'notified' })
    assert.equal(version, '2', 'saved once when created, once when notified')
    const events = (await client.xrange('task-created', '-', '+')).filter(([, fields]) => fields.join().includes(id))
    assert.equal(events.length, 1)
    // Delivered to the Notification Service's consumer group, and acknowledged.
    const groups = (await client.xinfo('GROUPS', 'task-created')) as unknown[][]
    assert.ok(groups.some((group) => group.includes('notifications')))
    assert.equal(((await client.xpending('task-created', 'notifications')) as unknown[])[0], 0)
  } finally {
    client.disconnect()
  }
  assert.ok(!holds(dataDir, id), 'nothing of it is left in the embedded store')
})

test('with the PostgreSQL YAML the task is in PostgreSQL', {
  ...limit,
  skip: postgres ? false : 'PostgreSQL is not on this machine',
}, async () => {
  assert.ok(postgres)
  const resources = yaml('postgresql', {
    'host=localhost port=5432 user=postgres password=postgres dbname=postgres connect_timeout=10': postgres.url,
    '.outrider/events.db': join(home, 'postgresql', 'events.db'),
  })
  const { id, types, dataDir } = await runDemo('postgresql', resources)
  assert.equal(types.statestore, 'state.postgresql')
  assert.equal(types.pubsub, 'pubsub.sqlite')
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ value: string }>(SQL_STATE, [`task-api||${id}`])
    assert.deepEqual(
      rows.map((row) => JSON.parse(row.value)),
      [{ id, title: 'buy milk (postgresql)', status: 'notified' }],
    )
  } finally {
    await client.end()
  }
  assert.ok(!holds(dataDir, `task-api||${id}`), 'nothing of it is left in the embedded store')
})
