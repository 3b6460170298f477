import { hostname } from 'node:os'
import { FluentdError, type Parameter, type Place, Section } from './section.ts'

export interface ParseOptions {
  file: string
  env: NodeJS.ProcessEnv
  /** Texts of the files of an @include, by the file that has it. Absent: it is refused. */
  include?(pattern: string, place: Place): readonly { file: string; text: string }[]
}

/** Sections and includes in each other. */
const DEPTH = 20

/** Reads Fluentd's configuration: a section without name with all there is. Throws FluentdError. */
export function parseFluentd(text: string, options: ParseOptions): Section {
  const root = new Section('', '', { file: options.file, line: 1 })
  new Reader(text, options).into(root, 0)
  return root
}

class Reader {
  readonly #lines: readonly string[]
  readonly #options: ParseOptions
  #at = 0

  constructor(text: string, options: ParseOptions) {
    this.#lines = text.split(/\r?\n/)
    this.#options = options
  }

  get #place(): Place {
    return { file: this.#options.file, line: this.#at }
  }

  /** Until the end of the section, or of the text. */
  into(section: Section, depth: number): void {
    if (depth > DEPTH) throw new FluentdError(this.#place, `more than ${DEPTH} sections or files in each other`)
    while (this.#at < this.#lines.length) {
      const line = (this.#lines[this.#at++] as string).trim()
      if (line === '' || line.startsWith('#')) continue
      const end = /^<\/([^>\s]+)\s*>/.exec(line)
      if (end) {
        if (end[1] === section.name) return
        throw new FluentdError(this.#place, `</${end[1]}> ends no <${end[1]}>${section.name ? `; <${section.name}> is open` : ''}`)
      }
      const begin = /^<([^\s>/]+)\s*([^>]*)>\s*(?:#.*)?$/.exec(line)
      if (begin) {
        const inner = new Section(begin[1] as string, (begin[2] as string).trim(), this.#place)
        section.sections.push(inner)
        this.into(inner, depth + 1)
        continue
      }
      if (line.startsWith('<')) throw new FluentdError(this.#place, `${line} begins no section`)
      const parameter = this.#parameter(line)
      if (parameter.name === '@include' || parameter.name === 'include') this.#include(parameter, section, depth)
      else section.parameters.push(parameter)
    }
    if (section.name !== '') throw new FluentdError(section.place, `<${section.name}> has no </${section.name}>`)
  }

  #include(parameter: Parameter, section: Section, depth: number): void {
    if (!this.#options.include) throw new FluentdError(parameter, '@include needs a file that this one stands in')
    for (const { file, text } of this.#options.include(parameter.value, parameter)) {
      const inner = new Section('', '', { file, line: 1 })
      new Reader(text, { ...this.#options, file }).into(inner, depth + 1)
      section.parameters.push(...inner.parameters)
      section.sections.push(...inner.sections)
    }
  }

  #parameter(line: string): Parameter {
    const place = this.#place
    const [, name = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(line) ?? []
    const first = rest[0]
    if (first === '"' || first === "'") return { ...place, name, value: this.#quoted(rest, first, place), quoted: true }
    if (first === '[' || first === '{') return { ...place, name, value: this.#json(rest, place), quoted: false }
    return { ...place, name, value: this.#embedded(rest.replace(/\s+#(?!\{).*$/, '').trim(), place), quoted: false }
  }

  /** Text in quotes, which may go on for lines. */
  #quoted(rest: string, quote: string, place: Place): string {
    let text = rest
    for (;;) {
      const end = endOfQuoted(text, quote)
      if (end > 0) {
        const after = text.slice(end + 1).trim()
        if (after !== '' && !after.startsWith('#')) throw new FluentdError(place, `${after} stands behind a text in quotes`)
        const inner = text.slice(1, end)
        return quote === "'" ? inner.replaceAll(/\\(['\\])/g, '$1') : this.#escaped(inner, place)
      }
      const next = this.#lines[this.#at++]
      if (next === undefined) throw new FluentdError(place, 'a text in quotes has no end')
      text += `\n${next}`
    }
  }

  #escaped(inner: string, place: Place): string {
    const plain: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', f: '\f', b: '\b', '0': '\0' }
    return inner
      .split(/(#\{[^}]*\})/)
      .map((part, index) =>
        index % 2 === 1
          ? this.#embedded(part, place)
          : part.replaceAll(/\\(.)/gs, (_, letter: string) => plain[letter] ?? (letter === '\n' ? '' : letter)),
      )
      .join('')
  }

  /** A list or an object in JSON, which may go on for lines. */
  #json(rest: string, place: Place): string {
    let text = rest
    for (let more = 0; more < 1000; more++) {
      try {
        return JSON.stringify(JSON.parse(text))
      } catch {
        const closes = text.startsWith('[') ? ']' : '}'
        const next = this.#lines[this.#at]
        // A regular expression, or a text in brackets, is no JSON and goes to the end of its line.
        if (next === undefined || (more === 0 && text.trimEnd().endsWith(closes))) break
        this.#at++
        text += `\n${next}`
      }
    }
    if (text !== rest) throw new FluentdError(place, `a list or object has no end`)
    return rest.trim()
  }

  /** `#{…}`: only the environment and the name of the machine; no Ruby runs here. */
  #embedded(text: string, place: Place): string {
    return text.replaceAll(/#\{([^}]*)\}/g, (_, code: string) => {
      const variable =
        /^\s*ENV(?:\[\s*["'](\w+)["']\s*\]|\.fetch\(\s*["'](\w+)["']\s*(?:,\s*["']([^"']*)["']\s*)?\))\s*(?:\|\|\s*(?:["']([^"']*)["']|(\d+)|use_default|use_nil))?\s*$/.exec(
          code,
        )
      if (variable) return this.#options.env[(variable[1] ?? variable[2]) as string] ?? variable[3] ?? variable[4] ?? variable[5] ?? ''
      if (/^\s*(hostname|Socket\.gethostname)\s*$/.test(code)) return hostname()
      throw new FluentdError(place, `#{${code}} is Ruby, which does not run here; #{ENV['NAME']} and #{hostname} are understood`)
    })
  }
}

/** Where a text ends that begins with a quote; -1: not here. */
function endOfQuoted(text: string, quote: string): number {
  for (let at = 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === quote) return at
    else if (quote === '"' && text.startsWith('#{', at)) {
      const close = text.indexOf('}', at)
      if (close > 0) at = close
    }
  }
  return -1
}
