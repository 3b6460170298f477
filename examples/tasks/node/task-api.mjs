// Task API: keeps tasks in the state store, announces them on a topic, and is called back by the Notification Service.
import { randomUUID, timingSafeEqual } from 'node:crypto'
import { serve, sidecar } from './http.mjs'

const port = Number(process.env.APP_PORT ?? 8000)
// To watch the retry: this many calls from the Notification Service are refused.
let failuresLeft = Number(process.env.FAIL_FIRST ?? 0)

const readApiKey = async () => (await sidecar('GET', 'secrets/secretstore/notifications-api-key'))['notifications-api-key']

async function createTask({ title }) {
  if (typeof title !== 'string' || title === '') return { status: 400, body: { error: 'title is missing: send {"title":"buy milk"}' } }
  const task = { id: randomUUID(), title, status: 'created' }
  await sidecar('POST', 'state/statestore', [{ key: task.id, value: task }])
  console.log(`saved task ${task.id} "${title}" in the state store`)
  await sidecar('POST', 'publish/pubsub/task-created', task)
  console.log(`published task-created for ${task.id}`)
  return { status: 201, body: task }
}

async function markNotified(id, headers) {
  if (failuresLeft > 0) {
    failuresLeft--
    console.log(`refusing the call about ${id} on purpose (FAIL_FIRST, ${failuresLeft} left)`)
    return { status: 503, body: { error: 'refused on purpose' } }
  }
  const [given, wanted] = [Buffer.from(String(headers['x-api-key'] ?? '')), Buffer.from(await readApiKey())]
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return { status: 401, body: { error: 'wrong x-api-key' } }
  const task = await sidecar('GET', `state/statestore/${encodeURIComponent(id)}`)
  if (!task) return { status: 404, body: { error: `no task ${id}` } }
  await sidecar('POST', 'state/statestore', [{ key: id, value: { ...task, status: 'notified' } }])
  console.log(`task ${id} is now notified`)
  return { status: 200, body: { ...task, status: 'notified' } }
}

async function handle(method, path, json, headers) {
  const [, collection, id, action] = path.split('/')
  if (collection === 'tasks' && method === 'POST' && id === undefined) return createTask(json())
  if (collection === 'tasks' && method === 'POST' && action === 'notified') return markNotified(id, headers)
  if (collection === 'tasks' && method === 'GET' && id) {
    const task = await sidecar('GET', `state/statestore/${encodeURIComponent(id)}`)
    return task ? { status: 200, body: task } : { status: 404, body: { error: `no task ${id}` } }
  }
  return { status: 404, body: { error: `${method} ${path} is not known here` } }
}

serve(port, handle, () => console.log(`Task API listens on http://localhost:${port}`))
