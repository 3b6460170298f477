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

/** `priority` of a request, held within 0 to 255; undefined when absent; throws what is wrong. */
export function priorityOf(given: Given): number | undefined {
  const text = given.priority
  if (!text) return undefined
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`priority value must be a valid integer: actual is '${text}'`)
  return Math.min(255, Math.max(0, Number(text)))
}
