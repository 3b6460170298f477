// The part of Go's text/template that Vault Agent's templates use: text, {{ pipelines }}, with, range, if, else, end, comments, {{- and -}}.

export type Argument =
  | { kind: 'literal'; value: string | number | boolean }
  | { kind: 'word'; word: string }
  /** `.a.b`, `$name.a`; no path: the value itself. */
  | { kind: 'field'; variable: string | undefined; path: readonly string[] }
  | { kind: 'group'; value: Action }

/** A pipeline: what one command gives is the next one's last argument. */
export interface Action {
  commands: readonly (readonly Argument[])[]
  line: number
}

export type Node =
  | { kind: 'text'; text: string }
  | { kind: 'print'; value: Action }
  | { kind: 'if' | 'with' | 'range'; value: Action; variables: readonly string[]; body: Node[]; otherwise: Node[] }

type Block = Extract<Node, { kind: 'if' | 'with' | 'range' }>

/** Blocks and groups within each other. */
const DEEPEST = 50
const TOKEN = /\s*(?:("(?:[^"\\\n]|\\.)*")|`([^`]*)`|(-?\d+(?:\.\d+)?)|(\$?[A-Za-z_]\w*(?:\.\w+)*|\$?(?:\.\w+)+|\$|\.)|([|(),]|:=))/y

/** Throws an Error that names the line. */
export function parseTemplate(text: string): Node[] {
  const top: Node[] = []
  const open: { block: Block; line: number; into: Node[] }[] = []
  let into = top
  let at = 0
  let line = 1
  let trim = false
  const add = (part: string) => {
    if (part !== '') into.push({ kind: 'text', text: part })
  }
  for (;;) {
    const start = text.indexOf('{{', at)
    const before = text.slice(at, start < 0 ? undefined : start)
    const trimLeft = start >= 0 && /^-\s/.test(text.slice(start + 2, start + 4))
    add(cut(before, trim, trimLeft))
    line += lines(before)
    if (start < 0) break
    const end = endOf(text, start + 2)
    if (end < 0) throw new Error(`line ${line}: {{ is never closed`)
    let inside = text.slice(start + 2, end)
    const here = line
    line += lines(inside)
    at = end + 2
    if (trimLeft) inside = inside.slice(1)
    trim = /\s-$/.test(inside)
    if (trim) inside = inside.slice(0, -1)
    const content = inside.trim()
    if (/^\/\*[\s\S]*\*\/$/.test(content)) continue
    const [, word = '', rest = ''] = /^(if|with|range|else|end)\b([\s\S]*)$/.exec(content) ?? []
    if (word === 'end' || word === 'else') {
      const last = open.at(-1)
      if (!last) throw new Error(`line ${here}: ${word} without a beginning`)
      if (rest.trim() !== '') throw new Error(`line ${here}: ${word} takes nothing behind it`)
      if (word === 'else') into = last.block.otherwise
      else {
        open.pop()
        into = last.into
      }
    } else if (word !== '') {
      if (open.length >= DEEPEST) throw new Error(`line ${here}: more than ${DEEPEST} blocks within each other`)
      const named = /^\s*((?:\$\w+\s*,\s*)?\$\w+)\s*:=([\s\S]*)$/.exec(rest)
      const variables = named ? (named[1] as string).split(',').map((one) => one.trim().slice(1)) : []
      const block: Block = { kind: word as Block['kind'], value: pipeline(named?.[2] ?? rest, here), variables, body: [], otherwise: [] }
      into.push(block)
      open.push({ block, line: here, into })
      into = block.body
    } else into.push({ kind: 'print', value: pipeline(content, here) })
  }
  const left = open.at(-1)
  if (left) throw new Error(`line ${left.line}: ${left.block.kind} has no end`)
  return top
}

function cut(text: string, left: boolean, right: boolean): string {
  const begun = left ? text.trimStart() : text
  return right ? begun.trimEnd() : begun
}

const lines = (text: string) => text.split('\n').length - 1

/** The next `}}` outside quotes. */
function endOf(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const one = text[at]
    if (one === '}' && text[at + 1] === '}') return at
    if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2)
      if (end < 0) return -1
      at = end + 1
    } else if (one === '"' || one === '`') {
      at++
      while (at < text.length && text[at] !== one) at += one === '"' && text[at] === '\\' ? 2 : 1
    }
  }
  return -1
}

function pipeline(text: string, line: number): Action {
  const reader = new Reader(text, line)
  const action = reader.pipeline(0)
  reader.end()
  return action
}

class Reader {
  readonly #text: string
  readonly #line: number
  #at = 0

  constructor(text: string, line: number) {
    this.#text = text
    this.#line = line
  }

  end(): void {
    const left = this.#text.slice(this.#at).trim()
    if (left !== '') throw this.#wrong(`${left.slice(0, 40)} cannot be understood`)
  }

  pipeline(depth: number): Action {
    if (depth > DEEPEST) throw this.#wrong('too many brackets')
    const commands: Argument[][] = [[]]
    for (let token = this.#next(); token; token = this.#next()) {
      const command = commands.at(-1) as Argument[]
      if (token === ')') {
        if (depth === 0) throw this.#wrong(') without (')
        return this.#whole(commands)
      }
      if (token === '|') commands.push([])
      else if (token === '(') command.push({ kind: 'group', value: this.pipeline(depth + 1) })
      else if (typeof token === 'string') throw this.#wrong(`${token} is not understood here`)
      else command.push(token)
    }
    if (depth > 0) throw this.#wrong('( is never closed')
    return this.#whole(commands)
  }

  #whole(commands: readonly (readonly Argument[])[]): Action {
    if (commands.some(({ length }) => length === 0)) throw this.#wrong('something is missing')
    for (const [at, [first, ...rest]] of commands.entries())
      if (first?.kind !== 'word' && (rest.length > 0 || at > 0)) throw this.#wrong('only a function takes arguments')
    return { commands, line: this.#line }
  }

  #next(): Argument | string | undefined {
    TOKEN.lastIndex = this.#at
    const found = TOKEN.exec(this.#text)
    if (!found) return undefined
    this.#at = TOKEN.lastIndex
    const [, quoted, raw, number, name, sign] = found
    if (quoted !== undefined) return { kind: 'literal', value: this.#unquoted(quoted) }
    if (raw !== undefined) return { kind: 'literal', value: raw }
    if (number !== undefined) return { kind: 'literal', value: Number(number) }
    if (name === undefined) return sign
    if (name === 'true' || name === 'false') return { kind: 'literal', value: name === 'true' }
    const [head = '', ...path] = name.split('.')
    if (head.startsWith('$')) return { kind: 'field', variable: head.slice(1), path: path.filter(Boolean) }
    if (head === '') return { kind: 'field', variable: undefined, path: path.filter(Boolean) }
    if (path.length > 0) throw this.#wrong(`${name} is not understood: a field begins with a dot`)
    return { kind: 'word', word: head }
  }

  #unquoted(quoted: string): string {
    try {
      return String(JSON.parse(quoted))
    } catch {
      throw this.#wrong(`${quoted.slice(0, 40)} is no text: escapes are those of JSON`)
    }
  }

  #wrong(message: string): Error {
    return new Error(`line ${this.#line}: ${message}`)
  }
}
