import { UsageError } from '../args.ts'
import { APP_ID_FLAG, type Command, DATA_DIR_FLAG, JSON_FLAG } from '../command.ts'
import { sidecarOf } from '../payload.ts'
import { callSidecar } from '../sidecar-client.ts'
import { CommandError } from '../status.ts'

export const state: Command = {
  usage: 'state get|set|delete [flags] key [value]',
  summary: "Read and write an app's state through its sidecar.",
  examples: [
    'outrider state set --app-id tasks greeting \'{"text":"hello"}\'',
    'outrider state get --app-id tasks greeting',
    'outrider state delete --app-id tasks greeting',
    '# Another store than "statestore"',
    'outrider state get --app-id tasks --store orders 42',
  ],
  flags: [
    APP_ID_FLAG,
    { name: 'store', short: 's', type: 'string', default: 'statestore', help: 'Name of the state store' },
    JSON_FLAG,
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const [action, key, value] = parsed.words
    if (!action || !['get', 'set', 'delete'].includes(action)) throw new UsageError(`state needs get, set or delete, not "${action ?? ''}"`)
    if (!key || (action === 'set' && value === undefined))
      throw new UsageError(`state ${action} needs a key${action === 'set' ? ' and a value' : ''}`)
    const appId = parsed.text('app-id')
    const sidecar = sidecarOf(parsed, appId, appId === '' ? 'the app is not clear: give --app-id' : `couldn't find app id ${appId}`)
    const store = `/v1.0/state/${encodeURIComponent(parsed.text('store'))}`
    const one = `${store}/${encodeURIComponent(key)}`
    const reply =
      action === 'set'
        ? await callSidecar(sidecar, 'POST', store, {
            body: JSON.stringify([{ key, value: jsonOrText(value as string) }]),
            contentType: 'application/json',
          })
        : await callSidecar(sidecar, action === 'get' ? 'GET' : 'DELETE', one)
    if (reply.status >= 400) throw new CommandError(`state ${action} failed: ${reply.status} ${reply.statusText}`, reply.body || undefined)
    const found = reply.status !== 204
    if (action !== 'get') {
      if (parsed.on('json')) reporter.plain(JSON.stringify({ key, done: true }))
      else reporter.success(action === 'set' ? `State saved: ${key}` : `State deleted: ${key}`)
    } else if (parsed.on('json')) reporter.plain(JSON.stringify({ key, found, value: found ? jsonOrText(reply.body) : null }))
    else if (found) reporter.plain(reply.body)
    else
      throw new CommandError(
        `no value under key ${key}`,
        'list what the app wrote in its own code, or check --store and --app-id: keys belong to an app',
      )
    return 0
  },
}

/** A value that is JSON is sent as JSON, everything else as text. */
function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
