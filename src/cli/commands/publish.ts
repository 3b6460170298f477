import { messageOf } from '../../errors.ts'
import { type Command, DATA_DIR_FLAG } from '../command.ts'
import { PAYLOAD_FLAGS, payloadOf, sidecarOf } from '../payload.ts'
import { callSidecar } from '../sidecar-client.ts'
import { CommandError } from '../status.ts'

export const publish: Command = {
  usage: 'publish [flags]',
  summary: 'Publish an event through the sidecar of a running app.',
  examples: ['outrider publish --publish-app-id tasks --pubsub pubsub --topic task-created --data \'{"id":"42"}\''],
  flags: [
    { name: 'publish-app-id', short: 'i', type: 'string', required: true, help: 'App that publishes' },
    { name: 'pubsub', short: 'p', type: 'string', required: true, help: 'Name of the pub/sub component' },
    { name: 'topic', short: 't', type: 'string', required: true, help: 'Topic' },
    { name: 'metadata', short: 'm', type: 'string', help: 'JSON object of metadata, e.g. {"ttlInSeconds":"60"}' },
    ...PAYLOAD_FLAGS,
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const body = payloadOf(parsed, 'publish')
    const [pubsub, topic] = [parsed.text('pubsub'), parsed.text('topic')]
    const metadata = metadataOf(parsed.text('metadata'))
    const failed = `Error publishing topic ${topic}:`
    const sidecar = sidecarOf(parsed, parsed.text('publish-app-id'), `${failed} couldn't find a running Dapr instance`)
    const query = new URLSearchParams(metadata.map(([key, value]) => [`metadata.${key}`, value])).toString()
    const path = `/v1.0/publish/${encodeURIComponent(pubsub)}/${topic.split('/').map(encodeURIComponent).join('/')}${query && `?${query}`}`
    const contentType = isCloudEvent(body) ? 'application/cloudevents+json' : 'application/json'
    const reply = await callSidecar(sidecar, 'POST', path, { body: body ?? '', contentType }).catch((error: unknown) => {
      throw new CommandError(`${failed} ${messageOf(error)}`)
    })
    if (reply.status < 200 || reply.status > 299) {
      throw new CommandError(
        `${failed} unexpected status code ${reply.status} on publishing to ${topic} in ${pubsub}`,
        reply.body || undefined,
      )
    }
    reporter.success('Event published successfully')
    return 0
  },
}

function metadataOf(text: string): [string, string][] {
  if (text === '') return []
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('an object is needed')
    return Object.entries(value).map(([key, item]) => [key, String(item)])
  } catch (error) {
    throw new CommandError(`Error parsing metadata as JSON. Error: ${messageOf(error)}`)
  }
}

function isCloudEvent(body: string | Buffer | undefined): boolean {
  try {
    const value: unknown = JSON.parse(String(body))
    return typeof value === 'object' && value !== null && ['id', 'source', 'specversion', 'type', 'data'].every((key) => key in value)
  } catch {
    return false
  }
}
