import { isIPv6 } from 'node:net'

/**
 * Personal data by its shape, as Dapr's conversation API takes it out of prompts and answers. It is coarse on purpose: four digits
 * in a row may be a telephone number. Every pattern is bounded or linear, since texts come from outside.
 */

type Span = readonly [start: number, end: number]
interface Kind {
  label: string
  find(text: string): Iterable<Span>
}

const pattern = (label: string, ...expressions: RegExp[]): Kind => ({
  label,
  *find(text) {
    for (const expression of expressions) for (const match of text.matchAll(expression)) yield [match.index, match.index + match[0].length]
  },
})

const SEPARATOR = '[-.\\s*]?'
const OCTET = '(?:25[0-5]|2[0-4]\\d|[01]?\\d\\d?)'
const STREETS = 'street|st|avenue|ave|road|rd|highway|hwy|square|sq|trail|trl|drive|dr|court|ct|park|parkway|pkwy|circle|cir|boulevard|blvd'
const GAP = '\\s{0,8}(?:[.-]\\s{0,8})?'

/** In this order: of two that fit the same text, the later one names it. */
const KINDS: readonly Kind[] = [
  pattern('STREET_ADDRESS', new RegExp(`\\d{1,4} [\\w\\s]{1,20}(?:${STREETS})\\W?`, 'giu')),
  pattern('CREDIT_CARD', /(?:\d{4}[- ]?){3}\d{4}|\d{15,16}/g),
  pattern(
    'PHONE_NUMBER',
    new RegExp(
      `(?:\\+?1${GAP})?(?:\\(?[2-9]\\d\\d\\s{0,8}\\)?${GAP})?[2-9]\\d\\d${GAP}\\d{4}\\s{0,8}(?:#|x\\.?|extension|ext\\.?)\\s{0,8}\\d+`,
      'gi',
    ),
    new RegExp(`(?:\\+?\\d{1,3}${SEPARATOR})?(?:\\(?\\d{2,3}\\)?${SEPARATOR})?\\d{2,3}${SEPARATOR}\\d{2,6}`, 'g'),
  ),
  { label: 'EMAIL_ADDRESS', find: mailAddresses },
  pattern('IP', new RegExp(`(?:${OCTET}\\.){3}${OCTET}`, 'g')),
  { label: 'IP', find: ipv6Addresses },
  pattern('ZIP_CODE', /\b\d{5}(?:[-\s]\d{4})?\b/g),
  pattern('PO_BOX', /P\.? ?O\.? Box \d+/gi),
  pattern('US_SSN', /\d{3}-\d{2}-\d{4}/g),
  pattern('ISBN', /(?:\d-?){9}[\dxX]/g, /(?:\d-?){12}[\dxX]/g),
  pattern('MAC_ADDRESS', /(?:[a-f\d]{2}[:-]){5}[a-f\d]{2}/gi),
  pattern('IBAN', /[A-Z]{2}\d{2}[A-Z\d]{4}\d{7}[A-Z\d]{0,16}/g),
]

/** The text with each piece of personal data replaced by its kind, e.g. `<EMAIL_ADDRESS>`; links and git addresses are left whole. */
export function scrub(text: string): string {
  let out = ''
  let at = 0
  for (const [start, end] of [...links(text), ...repositories(text)].sort((a, b) => a[0] - b[0])) {
    if (end <= at) continue
    out += scrubPiece(text.slice(at, Math.max(start, at))) + text.slice(Math.max(start, at), end)
    at = end
  }
  return out + scrubPiece(text.slice(at))
}

function scrubPiece(text: string): string {
  const found = KINDS.flatMap(({ label, find }, rank) => Array.from(find(text), ([start, end]) => ({ start, end, label, rank })))
  found.sort((a, b) => a.start - b.start || b.end - a.end || b.rank - a.rank)
  let out = ''
  let at = 0
  for (const { start, end, label } of found) {
    if (end <= at) continue
    out += `${text.slice(at, Math.max(start, at))}<${label}>`
    at = end
  }
  return out + text.slice(at)
}

/** From each `@` outwards, so that a long text without one costs nothing. */
function* mailAddresses(text: string): Iterable<Span> {
  const label = /[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/iy
  let after = 0
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    let start = at
    while (start > after && /[\w!#$%&'*+/=?^{|.}~-]/.test(text[start - 1] as string)) start--
    let end = 0
    label.lastIndex = at + 1
    for (let labels = 1; label.test(text); labels++) {
      if (labels > 1) end = label.lastIndex
      if (text[label.lastIndex] !== '.') break
      label.lastIndex++
    }
    if (start === at || end === 0) continue
    yield [start, end]
    after = end
  }
}

function* ipv6Addresses(text: string): Iterable<Span> {
  for (const match of text.matchAll(/(?<![\w:.])[\da-f:.]{2,45}(?:%\w{1,32})?(?![\w:])/gi)) {
    const address = match[0].replace(/\.+$/, '')
    // Two colons alone are an address too, but in prose they are code.
    if (address !== '::' && isIPv6(address)) yield [match.index, match.index + address.length]
  }
}

function* links(text: string): Iterable<Span> {
  for (const match of text.matchAll(/https?:\/\/([a-z0-9.-]+)(?:[^\s()<>]|\([^\s()<>]*\))*/g)) {
    if (!match[1]?.includes('.')) continue
    yield [match.index, match.index + match[0].replace(/[!([\]{};:'".,<>?]+$/, '').length]
  }
}

function* repositories(text: string): Iterable<Span> {
  for (const match of text.matchAll(/[\w.@:/~-]+/g)) {
    const end = match[0].lastIndexOf('.git')
    const start = end < 0 ? -1 : match[0].search(/(?:git|ssh|https?|git@[\w.]+):/)
    if (start >= 0 && start < end) yield [match.index + start, match.index + end + '.git'.length]
  }
}
