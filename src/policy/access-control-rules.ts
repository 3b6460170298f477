/** What an operation of a policy does. */
export interface OperationRule {
  /** For apps that do not speak HTTP: allow, or anything else. */
  readonly action: string
  /** For HTTP apps: the action of each verb listed, `*` for all others. */
  readonly verbs: ReadonlyMap<string, string>
}

interface Node {
  readonly segment: string
  /** What stands between the stars inside the segment; undefined without any. */
  readonly parts: readonly string[] | undefined
  rule: OperationRule | undefined
  readonly children: Node[]
}

/** `*` as a whole segment: any one segment, at the end only. */
const ONE = '*'
/** `**`: whatever comes. */
const REST = '**'

/**
 * The operations of one policy, looked up by path with Dapr's rules: segment by segment, at each level the first operation that
 * fits in the order they were written, without coming back to try another. A rule covers what lies below its path, `/a/*` also
 * `/a`. Of two rules with one name the first counts.
 */
export class OperationRules {
  readonly #root: Node = node('')

  /** @param path With a leading slash. */
  add(path: string, rule: OperationRule): void {
    let at = this.#root
    for (const segment of path.split('/').slice(1)) {
      let next = at.children.find((child) => child.segment === segment)
      if (!next) {
        next = node(segment)
        at.children.push(next)
      }
      at = next
    }
    at.rule ??= rule
  }

  /** @param path Normalised, with a leading slash. */
  find(path: string): OperationRule | undefined {
    const segments = path.split('/')
    let at = this.#root
    for (let i = 1; i < segments.length; i++) {
      const segment = segments[i] as string
      const last = i === segments.length - 1
      const next = at.children.find((child) => fits(child, segment, last))
      if (!next) return undefined
      // A path that spells a star itself reaches a rule for one segment before its end; that one covers no more.
      if (next.rule && (last || next.segment !== ONE)) return next.rule
      if (last) return next.children.find((child) => child.segment === ONE || child.segment === REST)?.rule
      at = next
    }
    return undefined
  }
}

function node(segment: string): Node {
  const inside = segment.includes('*') && segment !== ONE && segment !== REST
  return { segment, parts: inside ? segment.split(/\*+/) : undefined, rule: undefined, children: [] }
}

function fits({ segment, parts }: Node, wanted: string, last: boolean): boolean {
  if (segment === wanted || segment === REST) return true
  if (segment === ONE) return last
  return parts !== undefined && matches(parts, wanted)
}

/** In time that grows with the text only: a caller chooses the text. */
function matches(parts: readonly string[], text: string): boolean {
  const first = parts[0] as string
  const last = parts.at(-1) as string
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
  const end = text.length - last.length
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}
