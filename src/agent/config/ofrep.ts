import { messageOf } from '../../errors.ts'
import { answer } from '../port.ts'
import type { AgentCall, AgentRoute } from '../role.ts'
import { type EvaluationContext, evaluate, evaluateAll } from './flags.ts'
import type { ConfigHub, View } from './hub.ts'
import { isTree, tagOf } from './tree.ts'

const LARGEST_CONTEXT = 1 << 20

/** OpenFeature's Remote Evaluation Protocol (OFREP), https://openfeature.dev/docs/reference/other-technologies/ofrep, of the flags of one service. */
export function ofrepRoutes(hub: ConfigHub, base: string, serviceOf: (call: AgentCall) => string): AgentRoute[] {
  const route = (path: string, handle: (call: AgentCall, view: View, context: EvaluationContext) => void): AgentRoute => ({
    methods: ['POST'],
    path: `${base}/ofrep/v1/evaluate/flags${path}`,
    async handle(call) {
      const key = call.params.key === undefined ? {} : { key: call.params.key }
      const missing = hub.missing[0]
      if (missing !== undefined) {
        call.response.setHeader('retry-after', '1')
        return answer(call.response, 503, { ...key, errorCode: 'PROVIDER_NOT_READY', errorDetails: missing })
      }
      const body = await call.body(LARGEST_CONTEXT)
      let context: EvaluationContext
      try {
        context = contextOf(body)
      } catch (error) {
        return answer(call.response, 400, { ...key, errorCode: 'INVALID_CONTEXT', errorDetails: messageOf(error) })
      }
      const since = hub.staleSince
      if (since !== undefined) call.response.setHeader('outrider-stale-since', new Date(since).toISOString())
      handle(call, hub.view(serviceOf(call)), context)
    },
  })
  return [
    route('/:key', ({ params, response }, { features }, context) => {
      const found = evaluate(features, params.key as string, context)
      answer(response, !('errorCode' in found) ? 200 : found.errorCode === 'FLAG_NOT_FOUND' ? 404 : 400, { ...found, metadata: {} })
    }),
    route('', ({ request, response }, { features, featuresTag }, context) => {
      const etag = tagOf([featuresTag, context])
      if (request.headers['if-none-match'] === etag) return void response.writeHead(304, { etag }).end()
      response.setHeader('etag', etag)
      answer(response, 200, { flags: evaluateAll(features, context) })
    }),
  ]
}

/** The context of a request's body; nothing is an empty one. Throws what is wrong with it. */
export function contextOf(body: Buffer): EvaluationContext {
  if (body.length === 0) return {}
  const given: unknown = JSON.parse(body.toString())
  if (!isTree(given)) throw new Error('the body has to be an object')
  const { context = {} } = given
  if (!isTree(context)) throw new Error('context has to be an object')
  return context
}
