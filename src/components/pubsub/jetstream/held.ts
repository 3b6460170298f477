import type { Msg } from '@nats-io/transport-node'

/** A message of a stream that a consumer was given and has not settled. */
export interface Held {
  message: Msg
  /** Place in the stream. */
  sequence: number
  delivered: number
}

/** Answers to a delivery, as JetStream's protocol has them. */
export const HANDLED = Buffer.from('+ACK')
/** Starts the server's wait for the answer anew. */
export const WORKING = Buffer.from('+WPI')
const NOT_HANDLED = Buffer.from('-NAK')

/** Given again at once, or after so many milliseconds. */
export function notHandled(delay: number): Buffer {
  return delay > 0 ? Buffer.from(`-NAK {"delay": ${Math.round(delay * 1e6)}}`) : NOT_HANDLED
}

/** What the reply subject tells: $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.…; undefined for what is no message of a stream. */
export function placeOf(message: Msg): Held | undefined {
  const tokens = message.reply?.split('.') ?? []
  if (tokens[0] !== '$JS' || tokens[1] !== 'ACK' || tokens.length < 9) return undefined
  const at = tokens.length === 9 ? 4 : 6
  return { message, delivered: Number(tokens[at]), sequence: Number(tokens[at + 1]) }
}
