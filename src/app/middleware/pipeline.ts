import type { Middleware, MiddlewareReply, MiddlewareRequest } from '../../blocks/middleware/driver.ts'
import type { ComponentSet } from '../../components/sets.ts'

/** One step as a Configuration names it. */
export interface PipelineStep {
  /** metadata.name of the component. */
  name: string
  type: string
  version?: string
}

/** Middleware components in their order. */
export interface Pipeline {
  /** A reply ends the request; undefined: it goes on, as the middleware left it. A promise only where one of them waits. */
  run(request: MiddlewareRequest): MiddlewareReply | undefined | Promise<MiddlewareReply | undefined>
}

/** Undefined when there are no steps. A step whose component is not there is passed over, until the component comes. */
export function createPipeline(steps: readonly PipelineStep[], components: ComponentSet<Middleware>): Pipeline | undefined {
  if (steps.length === 0) return undefined
  const find = ({ name, type, version }: PipelineStep): Middleware | undefined => {
    const found = components.get(name)
    return found && found.type === type && found.version === (version || 'v1') ? found.component : undefined
  }
  const runFrom = (start: number, request: MiddlewareRequest): ReturnType<Pipeline['run']> => {
    for (let at = start; at < steps.length; at++) {
      const reply = find(steps[at] as PipelineStep)?.handle(request)
      if (reply instanceof Promise) return reply.then((answered) => answered ?? runFrom(at + 1, request))
      if (reply) return reply
    }
    return undefined
  }
  return { run: (request) => runFrom(0, request) }
}

/** Content type of replies that a middleware gives. */
export const PLAIN = 'text/plain; charset=utf-8'
