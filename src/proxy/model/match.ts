/** How a text is compared; exactly one of the six. A regular expression must fit the whole text. */
export interface TextMatch {
  exact?: string
  prefix?: string
  suffix?: string
  contains?: string
  regex?: string
  /** Any text, as long as there is one. */
  present?: true
  ignoreCase?: true
  /** What does not fit, fits. */
  not?: true
}

/** A header, or a query parameter, and what it must be. Lengths and numbers: `range`, from (inclusive) to (exclusive). */
export interface FieldMatch extends TextMatch {
  name: string
  range?: { from: number; to: number }
}

/** What of a request decides its route. */
export interface RequestMatch {
  path: { prefix: string } | { exact: string } | { regex: string } | { pathPrefix: string }
  /** Whether letters of the path count by case. Default true. */
  ignoreCase?: true
  headers: readonly FieldMatch[]
  query: readonly FieldMatch[]
  methods: readonly string[]
  /** Share of requests, in percent, that fit at all. */
  percent?: number
  grpc?: true
}

/** Values to add to a head, to put in place of what is there, or only where nothing is. Formats as access logs have them. */
export interface HeaderChange {
  name: string
  value: string
  how: 'append' | 'overwrite' | 'if-absent'
}

/** Changes of one head. */
export interface HeaderChanges {
  add: readonly HeaderChange[]
  remove: readonly string[]
}

export const NO_CHANGES: HeaderChanges = { add: [], remove: [] }
export const HEADER_NAME: RegExp = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
