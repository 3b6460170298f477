import { createInterface } from 'node:readline'

/** Prints a reply that the test reads; the SDK's own log goes to the same output without the mark. */
function reply(message) {
  console.log(`@@${JSON.stringify(message)}`)
}

/** Runs the features that the test asks for, one at a time, by name. */
export function serve(features) {
  reply({ feature: 'ready' })
  createInterface({ input: process.stdin }).on('line', async (feature) => {
    try {
      if (!features[feature]) throw new Error(`the program has no feature ${feature}`)
      reply({ feature, result: (await features[feature]()) ?? null })
    } catch (error) {
      reply({ feature, error: String(error?.stack ?? JSON.stringify(error)) })
    }
  })
}

/** Notes what handlers receive, so that a feature can wait for it. */
export class Inbox {
  #heard = new Map()
  #waiting = new Set()

  note(name, value) {
    this.#heard.set(name, [...this.all(name), value])
    for (const look of this.#waiting) look()
  }

  all(name) {
    return this.#heard.get(name) ?? []
  }

  /** Everything that came under a name once there are `count` of it. */
  until(name, count) {
    return new Promise((resolve) => {
      const look = () => {
        if (this.all(name).length < count) return
        this.#waiting.delete(look)
        resolve(this.all(name))
      }
      this.#waiting.add(look)
      look()
    })
  }
}
