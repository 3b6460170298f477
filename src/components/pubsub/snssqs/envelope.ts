/** A message of SNS as it stands in a queue. */
export interface Envelope {
  topic: string
  data: Buffer
}

/** Attribute of messages whose bytes SNS cannot carry. */
export const ENCODING = 'outrider-encoding'

/** What SNS takes: text, not empty, without most control characters. Other bytes go in Base64, with an attribute that says so. */
export function forSns(data: Buffer): { text: string; encoded: boolean } {
  const text = data.toString()
  const carried = text !== '' && !/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.test(text) && Buffer.from(text).equals(data)
  // An empty text is not taken either; padding alone is nothing in Base64.
  return carried ? { text, encoded: false } : { text: data.toString('base64') || '=', encoded: true }
}

/** undefined: no message of SNS. */
export function fromSns(body: string): Envelope | undefined {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { Message, TopicArn, MessageAttributes } = value as { Message?: unknown; TopicArn?: unknown; MessageAttributes?: unknown }
  if (typeof Message !== 'string' || typeof TopicArn !== 'string') return undefined
  const attributes = (MessageAttributes ?? {}) as Record<string, { Value?: unknown } | undefined>
  const encoded = attributes[ENCODING]?.Value === 'base64'
  return { topic: TopicArn.slice(TopicArn.lastIndexOf(':') + 1), data: Buffer.from(Message, encoded ? 'base64' : 'utf8') }
}
