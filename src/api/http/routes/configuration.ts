import { type ConfigurationBlock, shownItem } from '../../../blocks/configuration/block.ts'
import { type Handler, json, noContent, type Route } from '../route.ts'
import { withoutDetails } from './legacy.ts'

/** The routes of the configuration building block, in both their versions. */
export function configurationRoutes(block: ConfigurationBlock): Route[] {
  const get: Handler = async (call) => {
    const items = await block.get(call.params.store as string, call.query.getAll('key'), call.metadata(), call.signal)
    const shown = Object.entries(items).map(([key, item]) => [key, shownItem(item)])
    return shown.length === 0 ? noContent : json(Object.fromEntries(shown))
  }
  const subscribe: Handler = async (call) =>
    json({ id: await block.subscribe(call.params.store as string, call.query.getAll('key'), call.metadata()) })
  const unsubscribe: Handler = async (call) => {
    const id = call.params.id as string
    if (await block.unsubscribe(call.params.store as string, id)) return json({ ok: true })
    return json(
      {
        message: `failed to unsubscribe to configuration request ${id}: subscription with id ${id} does not exist`,
        hint: 'use the id that subscribe answered; it ends when the sidecar stops',
      },
      500,
    )
  }
  return ['v1', 'v1alpha1'].flatMap((version) => {
    const base = `/${version === 'v1' ? 'v1.0' : 'v1.0-alpha1'}/configuration/:store`
    const route = (path: string, name: string, handler: Handler): Route => ({
      methods: ['GET'],
      path: base + path,
      group: 'configuration',
      version,
      name,
      handler: withoutDetails(handler),
    })
    return [
      route('', 'GetConfiguration', get),
      route('/subscribe', 'SubscribeConfiguration', subscribe),
      route('/:id/unsubscribe', 'UnsubscribeConfiguration', unsubscribe),
    ]
  })
}
