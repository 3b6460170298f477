import { createHash } from 'node:crypto'

/** One event hub: partitions of events, each a log. */
export class Hub {
  constructor(name, count) {
    this.name = name
    this.created = new Date()
    this.partitions = Array.from({ length: count }, (_, id) => new Partition(String(id)))
    this.turn = 0
  }

  /** Where an event goes: by its key, or in turn. */
  partitionFor(key) {
    if (key === undefined) return this.partitions[this.turn++ % this.partitions.length]
    const hash = createHash('sha1').update(key).digest().readUInt32BE(0)
    return this.partitions[hash % this.partitions.length]
  }
}

class Partition {
  constructor(id) {
    this.id = id
    this.events = []
    // As in the service an offset is where the event lies, and says nothing of its number.
    this.end = 0
    this.readers = new Set()
  }

  get last() {
    return this.events.at(-1)
  }

  append(sections, key) {
    const event = { sequence: this.events.length, offset: this.end, time: Date.now(), key, sections }
    this.end += 100 + sections.reduce((sum, { bytes }) => sum + bytes.length, 0)
    this.events.push(event)
    return event
  }

  /** The index of the first event that a reader with this filter gets; throws words of the service. */
  start(filter) {
    if (filter === undefined) return 0
    const found = /^amqp\.annotation\.(x-opt-offset|x-opt-sequence-number|x-opt-enqueued-time(?:-utc)?) (>=?) '(.*)'$/.exec(filter)
    if (!found) throw new Error(`The filter '${filter}' is not understood.`)
    const [, what, sign, text] = found
    if (text === '@latest') return this.events.length
    if (!/^-?\d+$/.test(text)) throw new Error(`The supplied ${what} '${text}' is invalid.`)
    const of = ({ sequence, offset, time }) => (what === 'x-opt-offset' ? offset : what === 'x-opt-sequence-number' ? sequence : time)
    const at = this.events.findIndex((event) => (sign === '>' ? of(event) > Number(text) : of(event) >= Number(text)))
    return at === -1 ? this.events.length : at
  }
}
