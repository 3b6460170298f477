import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { PREFIXES } from './annotations.ts'
import { type Container, parseContainer } from './pod.ts'

interface Component {
  metadata?: { name?: string; annotations?: Record<string, string> }
  scopes?: string[]
}

/** Containers that an app's Components name in their annotation `component-container`, one for each image. */
export function componentContainers(components: readonly Component[], appId: string, log: Logger): Container[] {
  const found = new Map<string, Container>()
  for (const { metadata = {}, scopes = [] } of components) {
    const { name = '', annotations = {} } = metadata
    const text = annotations[`${PREFIXES.own}component-container`] ?? annotations[`${PREFIXES.dapr}component-container`]
    if (!text || (scopes.length > 0 && !scopes.includes(appId))) continue
    try {
      const container = parseContainer(JSON.parse(text))
      const image = container.image ?? ''
      if (!found.has(image)) found.set(image, { ...container, name: container.name || name })
    } catch (error) {
      log.warn(`the container of component ${name} is left out: its annotation component-container is no container: ${messageOf(error)}`)
    }
  }
  return [...found.values()]
}
