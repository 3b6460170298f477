import type { Channel, ConsumeMessage } from 'amqplib'

/** A channel that messages came on, as long as it lives: on another one their tags mean nothing. */
export class DeliveryChannel {
  readonly channel: Channel
  /** Name of the consumer; empty before it consumes. */
  tag = ''
  open = true
  /** Delivered and neither acknowledged nor refused, in the order of delivery. */
  readonly #outstanding = new Set<number>()
  /** Handled, to be acknowledged in this turn of the event loop. */
  #handled: number[] = []

  constructor(channel: Channel) {
    this.channel = channel
  }

  add(message: ConsumeMessage): void {
    this.#outstanding.add(message.fields.deliveryTag)
  }

  /** At the end of this turn of the event loop; the server gives the message again when the channel is lost before. */
  acknowledge(message: ConsumeMessage): void {
    if (this.open && this.#handled.push(message.fields.deliveryTag) === 1) setImmediate(() => this.flush())
  }

  /** Back into the queue, or away: dropped or dead-lettered. */
  refuse(message: ConsumeMessage, requeue: boolean): void {
    if (!this.open) return
    this.#outstanding.delete(message.fields.deliveryTag)
    this.channel.nack(message, false, requeue)
  }

  /** One frame says for all messages before the oldest that is still worked on; the rest one by one. */
  flush(): void {
    const handled = this.#handled
    if (!this.open || handled.length === 0) return
    this.#handled = []
    for (const tag of handled) this.#outstanding.delete(tag)
    const oldest = this.#outstanding.values().next().value ?? Number.POSITIVE_INFINITY
    let together = 0
    let highest = 0
    for (const tag of handled) {
      if (tag > oldest) this.channel.ack(withTag(tag))
      else {
        together++
        highest = Math.max(highest, tag)
      }
    }
    if (together > 0) this.channel.ack(withTag(highest), together > 1)
  }
}

/** The library reads the tag only; the message itself need not be kept for it. */
function withTag(deliveryTag: number): ConsumeMessage {
  return { fields: { deliveryTag } } as ConsumeMessage
}
