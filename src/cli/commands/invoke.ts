import { messageOf } from '../../errors.ts'
import { type Command, DATA_DIR_FLAG, JSON_FLAG } from '../command.ts'
import { PAYLOAD_FLAGS, payloadOf, sidecarOf } from '../payload.ts'
import { callSidecar } from '../sidecar-client.ts'
import { CommandError } from '../status.ts'

export const invoke: Command = {
  usage: 'invoke [flags]',
  summary: 'Call a method of a running app through its sidecar.',
  examples: [
    'outrider invoke --app-id tasks --method tasks --data \'{"title":"milk"}\'',
    '# Another verb',
    'outrider invoke --app-id tasks --method tasks/42 --verb GET',
  ],
  flags: [
    { name: 'app-id', short: 'a', type: 'string', required: true, help: 'App to call' },
    { name: 'method', short: 'm', type: 'string', required: true, help: 'Path of the app, with query if need be' },
    { name: 'verb', short: 'v', type: 'string', default: 'POST', help: 'HTTP method' },
    ...PAYLOAD_FLAGS,
    JSON_FLAG,
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const body = payloadOf(parsed, 'invoke')
    const appId = parsed.text('app-id')
    const sidecar = sidecarOf(parsed, appId, `error invoking app ${appId}: app ID ${appId} not found`)
    const path = `/v1.0/invoke/${appId}/method/${parsed.text('method').replace(/^\//, '')}`
    const reply = await callSidecar(sidecar, parsed.text('verb').toUpperCase(), path, { body, contentType: 'application/json' }).catch(
      (error: unknown) => {
        throw new CommandError(`error invoking app ${appId}: ${messageOf(error)}`)
      },
    )
    const good = reply.status >= 200 && reply.status < 400
    if (parsed.on('json')) {
      reporter.plain(JSON.stringify({ status: reply.status, body: reply.body }))
      return good ? 0 : 1
    }
    if (!good) throw new CommandError(`error invoking app ${appId}: ${reply.status} ${reply.statusText}`, reply.body || undefined)
    if (reply.body !== '') reporter.plain(reply.body)
    reporter.success('App invoked successfully')
    return 0
  },
}
