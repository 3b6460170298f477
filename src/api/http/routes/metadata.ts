import type { MetadataBlock } from '../../../blocks/metadata.ts'
import { json, noContent, type Route } from '../route.ts'

/** GET and PUT of `/v1.0/metadata`. */
export function metadataRoutes(block: MetadataBlock): Route[] {
  const row = { group: 'metadata', version: 'v1' }
  return [
    { ...row, methods: ['GET'], path: '/v1.0/metadata', name: 'GetMetadata', handler: () => json(block.get()) },
    {
      ...row,
      methods: ['PUT'],
      path: '/v1.0/metadata/:key',
      name: 'PutMetadata',
      handler: async (call) => {
        block.set(call.params.key as string, (await call.body()).toString())
        return noContent
      },
    },
  ]
}
