import { after } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { eventHubs, makeHub } from '../../../../test/servers/eventhubs.ts'
import { help, ownServer, serverOf } from '../../../../test/servers/server.ts'
import { pubsubConformance } from '../../../blocks/pubsub/conformance.ts'
import { opener } from './testing.ts'

const server = await ownServer(eventHubs)
const storage = await serverOf(azurite)
after(() => Promise.all([server?.stop(), storage?.stop()]))
const open = opener(server, storage)

pubsubConformance('pubsub.azure.eventhubs (stand-in)', {
  missing: (!server && help(eventHubs)) || (!storage && help(azurite)),
  open: ({ appId, properties: { concurrency, redeliverInterval, ...rest } = {} }) =>
    open(appId, {
      ...rest,
      enableInOrderMessageDelivery: String(concurrency === '1'),
      backOffMaxRetries: '-1',
      ...(redeliverInterval ? { backOffDuration: redeliverInterval } : {}),
    }),
  // Members of a group share a hub by its partitions, which are made before.
  prepareShared: (topic) => makeHub(server?.address ?? '', topic, 4),
  batchesInOrder: true,
  durable: true,
  groups: true,
  contentType: false,
  metadata: () => ({}),
  adds: /^(x-opt-|message-id$)/,
})
