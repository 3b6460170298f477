import type { Middleware } from '../../../blocks/middleware/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { step } from '../step.ts'

const metadata: readonly MetadataField[] = [
  { name: 'direction', kind: 'string', default: 'request', description: 'What is changed: request, response or both.' },
]

/** Character by character; one whose capital has another size stays, so that Content-Length holds. */
function upper(text: string): string {
  return text.replace(/[^\0-`{-\x7f]/gu, (character) => {
    const capital = character.toUpperCase()
    return Buffer.byteLength(capital) === Buffer.byteLength(character) ? capital : character
  })
}

export const driver: DriverModule<Middleware> = {
  summary: 'Turns bodies into capital letters, for tests of a pipeline.',
  metadata,
  create(context) {
    const direction = String(parseMetadata(metadata, context.properties).direction).toLowerCase()
    const reply = direction === 'response' || direction === 'both'
    const request = direction !== 'response'
    return step((passing) => {
      if (request) passing.mapBody(upper)
      if (reply) passing.mapReply(upper)
      return undefined
    })
  },
}
