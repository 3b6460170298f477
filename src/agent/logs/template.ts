import { hostname } from 'node:os'
import { fieldOf, type LogEvent, textOf } from './event.ts'
import { formatTime } from './formats/time.ts'

type Part = string | ((event: LogEvent) => unknown)

/**
 * Text with `${tag}`, `${hostname}`, `${env.NAME}`, `${time}`, `${field.name}` and `${tag_parts[0]}`; with `dates` also %Y and the like, of
 * the event's time in UTC. What is not there is empty. Throws for a name that is none of these.
 */
export class Template {
  readonly #parts: readonly Part[]
  readonly #dates: boolean
  /** The text is the same for all events. */
  readonly constant: string | undefined

  constructor(text: string, env: NodeJS.ProcessEnv, dates = false) {
    this.#dates = dates && text.includes('%')
    const parts: Part[] = []
    let at = 0
    for (const found of text.matchAll(/\$\{([^}]*)\}/g)) {
      if (found.index > at) parts.push(text.slice(at, found.index))
      parts.push(partOf((found[1] as string).trim(), env, text))
      at = found.index + found[0].length
    }
    if (at < text.length) parts.push(text.slice(at))
    this.#parts = parts
    this.constant = !this.#dates && parts.every((part) => typeof part === 'string') ? parts.join('') : undefined
  }

  text(event: LogEvent): string {
    if (this.constant !== undefined) return this.constant
    let out = ''
    for (const part of this.#parts) {
      if (typeof part === 'string') out += this.#dates ? formatTime(part, event.time) : part
      else {
        const value = part(event)
        out += value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value)
      }
    }
    return out
  }

  /** A lone `${field.name}` keeps its type; undefined when it is not there. */
  value(event: LogEvent): unknown {
    const only = this.#parts.length === 1 ? this.#parts[0] : undefined
    return typeof only === 'function' ? only(event) : this.text(event)
  }
}

function partOf(name: string, env: NodeJS.ProcessEnv, text: string): Part {
  if (name === 'tag') return ({ tag }) => tag
  if (name === 'hostname') return hostname()
  if (name === 'time') return ({ time }) => new Date(time).toISOString()
  if (name.startsWith('env.')) return env[name.slice(4)] ?? ''
  if (name.startsWith('field.')) {
    const path = name.slice(6)
    return ({ record }) => fieldOf(record, path)
  }
  const part = /^tag_parts\[(-?\d{1,3})\]$/.exec(name)
  if (part) return ({ tag }) => tag.split('.').at(Number(part[1])) ?? ''
  throw new Error(
    `\${${name}} in "${text}" is not known; known are \${tag}, \${tag_parts[0]}, \${hostname}, \${env.NAME}, \${time} and \${field.name}`,
  )
}

/** Whether a text of an event matches; a field that is not there does not. */
export function fieldMatcher({ field, pattern }: { field: string; pattern: string }): (event: LogEvent) => boolean {
  const expression = new RegExp(pattern)
  return ({ record }) => {
    const text = textOf(record, field)
    return text !== undefined && expression.test(text)
  }
}
