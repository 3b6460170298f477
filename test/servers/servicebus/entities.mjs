import { randomBytes } from 'node:crypto'
import rhea from 'rhea'

const { message: amqp, types } = rhea
const DEFAULTS = { lockDuration: 60, maxDeliveryCount: 10, requiresSession: false, timeToLive: undefined }

export const queues = new Map()
export const topics = new Map()

/** `queue`, `topic`, `topic/Subscriptions/name`, and `/$DeadLetterQueue` behind a queue or subscription; undefined: none. */
export function entityOf(address) {
  const [path, dead] = address
    .toLowerCase()
    .replace(/^\//, '')
    .split(/(\/\$deadletterqueue)$/)
  const [topic, name] = path.split('/subscriptions/')
  const queue = name === undefined ? queues.get(path) : topics.get(topic)?.subscriptions.get(name)
  if (queue) return dead ? queue.dead : queue
  return dead || name !== undefined ? undefined : topics.get(path)
}

export class Topic {
  subscriptions = new Map()

  send(message) {
    for (const queue of this.subscriptions.values()) queue.send({ ...message })
  }
}

/** A queue, or a subscription: messages in the order of their numbers, locked while somebody has them. */
export class Queue {
  /** Unlocked and locked; `{ number, message, count, at, lock }`. */
  messages = []
  /** Links that want messages, each in turn. */
  links = new Set()
  sessions = new Map()
  waiting = []
  #number = 0

  constructor(name, settings = {}, dead = true) {
    this.name = name
    this.settings = { ...DEFAULTS, ...settings }
    if (dead) this.dead = new Queue(`${name}/$DeadLetterQueue`, {}, false)
  }

  send(message) {
    const scheduled = message.message_annotations?.['x-opt-scheduled-enqueue-time']
    const wait = scheduled === undefined ? 0 : new Date(scheduled).getTime() - Date.now()
    if (wait > 0) setTimeout(() => this.#enqueue(message), wait).unref()
    else this.#enqueue(message)
  }

  #enqueue(message) {
    const ttl = Math.min(message.ttl ?? Number.POSITIVE_INFINITY, (this.settings.timeToLive ?? Number.POSITIVE_INFINITY) * 1000)
    this.messages.push({ number: ++this.#number, message, count: 0, at: Date.now(), until: Date.now() + ttl, lock: undefined })
    if (this.settings.requiresSession) this.#offerSession()
    this.pump()
  }

  /** The session of this name, or any that is free and has messages; undefined: none. */
  free(name) {
    const ids = name === null || name === undefined ? this.messages.map(({ message }) => message.group_id ?? '') : [name]
    return ids.find((id) => !this.sessions.has(id))
  }

  #offerSession() {
    while (this.waiting.length > 0) {
      const id = this.free(this.waiting[0].session)
      if (id === undefined) return
      this.waiting.shift().take(id)
    }
  }

  lockSession(id, link) {
    this.sessions.set(id, link)
  }

  leaveSession(id, link) {
    if (this.sessions.get(id) !== link) return
    this.sessions.delete(id)
    for (const one of this.messages) if (one.lock?.link === link) this.#unlock(one, true)
    this.#offerSession()
  }

  pump() {
    this.messages = this.messages.filter((one) => one.lock || one.until > Date.now())
    for (const link of this.links) {
      // Credit goes down when what was given to rhea is written, at the end of the turn.
      let room = Math.min(link.credit - (link.given ?? 0), link.session.outgoing.available())
      for (const one of this.messages) {
        if (room <= 0) break
        if (one.lock || one.deferred) continue
        if (link.sessionId !== undefined && (one.message.group_id ?? '') !== link.sessionId) continue
        room--
        this.#give(one, link)
      }
      if (link._draining && room > 0) link.set_drained(true)
    }
  }

  #give(one, link) {
    const tag = randomBytes(16)
    const presettled = link.local.attach.snd_settle_mode === 1
    const { message } = one
    const until = Date.now() + this.settings.lockDuration * 1000
    const sent = {
      ...message,
      delivery_count: one.count,
      message_annotations: {
        ...message.message_annotations,
        'x-opt-enqueued-time': types.wrap_timestamp(one.at),
        'x-opt-sequence-number': types.wrap_long(one.number),
        'x-opt-enqueue-sequence-number': types.wrap_long(one.number),
        'x-opt-locked-until': types.wrap_timestamp(until),
      },
    }
    link.given = (link.given ?? 0) + 1
    setImmediate(() => {
      link.given--
      this.pump()
    })
    const delivery = link.send(sent, tag)
    if (presettled) {
      this.#remove(one)
      return
    }
    one.lock = { token: reordered(tag), link, delivery, until, timer: undefined }
    delivery.one = one
    if (link.sessionId === undefined) this.#watch(one)
  }

  #watch(one) {
    clearTimeout(one.lock.timer)
    one.lock.timer = setTimeout(() => this.#unlock(one, true), one.lock.until - Date.now()).unref()
  }

  /** The new end of a lock; undefined: it is lost. */
  renew(token) {
    const one = this.messages.find(({ lock }) => lock?.token === token)
    if (!one) return undefined
    one.lock.until = Date.now() + this.settings.lockDuration * 1000
    this.#watch(one)
    return one.lock.until
  }

  /** What the receiver said of a delivery. */
  settle(delivery, outcome, state) {
    const { one } = delivery
    const say = (answer) => {
      delivery.update(true, answer)
      // rhea waits for a word of the peer, who has said the last one.
      delivery.remote_settled = true
    }
    if (!one?.lock || one.lock.delivery !== delivery) {
      const lost = 'com.microsoft:message-lock-lost'
      const description = 'The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.'
      return say(amqp.rejected({ error: { condition: lost, description } }).described())
    }
    const annotations = state?.message_annotations
    if (annotations) one.message = { ...one.message, application_properties: { ...one.message.application_properties, ...annotations } }
    if (outcome === 'accepted') this.#remove(one)
    else if (outcome === 'rejected') this.#bury(one, state?.error?.info?.DeadLetterReason, state?.error?.info?.DeadLetterErrorDescription)
    else if (state?.undeliverable_here) one.deferred = true
    say(amqp[outcome]({}).described())
    if (outcome === 'released' || outcome === 'modified') this.#unlock(one, outcome === 'modified')
  }

  #unlock(one, counted) {
    if (!one.lock) return
    clearTimeout(one.lock.timer)
    one.lock = undefined
    if (counted) one.count++
    if (one.count >= this.settings.maxDeliveryCount)
      this.#bury(one, 'MaxDeliveryCountExceeded', `Message could not be consumed after ${one.count} delivery attempts.`)
    setImmediate(() => this.pump())
  }

  #bury(one, reason, description) {
    this.#remove(one)
    const added = { ...(reason && { DeadLetterReason: reason }), ...(description && { DeadLetterErrorDescription: description }) }
    this.dead?.send({ ...one.message, application_properties: { ...one.message.application_properties, ...added } })
  }

  #remove(one) {
    clearTimeout(one.lock?.timer)
    one.lock = undefined
    this.messages = this.messages.filter((other) => other !== one)
  }

  /** A link is gone: what it has is locked until the locks end. */
  leave(link) {
    this.links.delete(link)
    if (link.sessionId !== undefined) this.leaveSession(link.sessionId, link)
  }
}

/** A tag in .NET's order of bytes as the hexadecimal UUID that it stands for. */
function reordered(tag) {
  const token = Buffer.from(tag)
  token.subarray(0, 4).reverse()
  token.subarray(4, 6).reverse()
  token.subarray(6, 8).reverse()
  return token.toString('hex')
}
