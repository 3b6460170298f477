import { parseDuration } from '../metadata.ts'

/** The properties of an AMQP message; what is absent is not sent. Names and meaning as amqplib writes them. */
export interface MessageProperties {
  contentType?: string
  headers?: Record<string, unknown>
  deliveryMode?: number
  priority?: number
  correlationId?: string
  /** Milliseconds, as text. */
  expiration?: string
  messageId?: string
  type?: string
}

type Given = Readonly<Record<string, string>>

/** contentType, messageID, correlationID and type of a request, in any case. */
export function applyGiven(given: Given, to: MessageProperties): MessageProperties {
  for (const name in given) {
    const value = given[name]
    if (!value) continue
    // The exact name wins over one in other letters.
    switch (name.length === 4 || name.length === 9 || name.length === 11 || name.length === 13 ? name.toLowerCase() : '') {
      case 'contenttype':
        to.contentType = exact(given, 'contentType') ?? value
        break
      case 'messageid':
        to.messageId = exact(given, 'messageID') ?? value
        break
      case 'correlationid':
        to.correlationId = exact(given, 'correlationID') ?? value
        break
      case 'type':
        to.type = exact(given, 'type') ?? value
        break
    }
  }
  return to
}

function exact(given: Given, name: string): string | undefined {
  return given[name] || undefined
}

/** Milliseconds of `ttl` or `ttlInSeconds` (a duration, or whole seconds above zero); undefined when absent; throws what is wrong. */
export function ttlOf(given: Given): number | undefined {
  const text = lookup(given, 'ttl') ?? lookup(given, 'ttlInSeconds')
  if (text === undefined) return undefined
  if (/^[+-]?\d+$/.test(text)) {
    const seconds = Number(text)
    // Go reads a bare 0 as a duration.
    if (seconds === 0) return 0
    if (seconds < 0) throw new Error(`ttl value must be higher than zero: actual is '${text}'`)
    return seconds * 1000
  }
  const milliseconds = /[a-zµμ]/.test(text) ? parseDuration(text) : undefined
  if (milliseconds === undefined) throw new Error(`ttl value must be a valid integer: actual is '${text}'`)
  return Math.max(0, Math.trunc(milliseconds))
}

function lookup(given: Given, name: string): string | undefined {
  if (given[name]) return given[name]
  const lower = name.toLowerCase()
  for (const one in given) if (one.length === lower.length && one.toLowerCase() === lower && given[one]) return given[one]
  return undefined
}

/** `priority` of a request, held within 0 to 255; undefined when absent; throws what is wrong. */
export function priorityOf(given: Given): number | undefined {
  const text = given.priority
  if (!text) return undefined
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`priority value must be a valid integer: actual is '${text}'`)
  return Math.min(255, Math.max(0, Number(text)))
}
