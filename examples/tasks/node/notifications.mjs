// Notification Service: receives task-created, tells the Task API through the sidecars, and shows what it did.
import { setTimeout as pause } from 'node:timers/promises'
import { serve, sidecar } from './http.mjs'

const port = Number(process.env.APP_PORT ?? 8001)
const TRIES = 4
const KEPT = 1000
/** Task id → what was done; the oldest leaves when there are more than KEPT. */
const notifications = new Map()

async function tellTaskApi(id) {
  const secrets = await sidecar('GET', 'secrets/secretstore/notifications-api-key')
  return sidecar(
    'POST',
    `invoke/task-api/method/tasks/${encodeURIComponent(id)}/notified`,
    {},
    { 'x-api-key': secrets['notifications-api-key'] },
  )
}

async function onTaskCreated(event) {
  const task = event.data
  // The broker delivers at least once: what is done is not done again.
  if (notifications.has(task.id)) return { status: 200, body: { status: 'SUCCESS' } }
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    try {
      await tellTaskApi(task.id)
      notifications.set(task.id, { taskId: task.id, title: task.title, attempts: attempt, eventId: event.id, at: new Date().toISOString() })
      if (notifications.size > KEPT) notifications.delete(notifications.keys().next().value)
      console.log(`received task-created for ${task.id}; the Task API knows (attempt ${attempt})`)
      return { status: 200, body: { status: 'SUCCESS' } }
    } catch (error) {
      console.log(`attempt ${attempt} of ${TRIES} for ${task.id} failed: ${error.message}`)
      if (attempt < TRIES) await pause(100 * 2 ** attempt)
    }
  }
  // The event goes back to the broker, which delivers it again.
  return { status: 200, body: { status: 'RETRY' } }
}

async function handle(method, path, json) {
  if (path === '/dapr/subscribe')
    return { status: 200, body: [{ pubsubname: 'pubsub', topic: 'task-created', route: '/events/task-created' }] }
  if (path === '/events/task-created' && method === 'POST') return onTaskCreated(json())
  if (path === '/notifications' && method === 'GET') return { status: 200, body: [...notifications.values()] }
  return { status: 404, body: { error: `${method} ${path} is not known here` } }
}

serve(port, handle, () => console.log(`Notification Service listens on http://localhost:${port}`))
