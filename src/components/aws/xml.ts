/** One element: its text, and the elements in it in their order. */
export interface XmlElement {
  name: string
  text: string
  children: XmlElement[]
}

const TOKEN = /<!\[CDATA\[([\s\S]*?)\]\]>|<[?!][^>]*>|<(\/?)([^\s/>]+)[^>]*?(\/?)>|([^<]+)/g
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }
/** Elements inside each other; AWS's replies have a handful. */
const DEPTH = 64

/** Reads the XML of AWS's replies: elements and text; attributes, comments and declarations are passed over. Throws when it is none. */
export function parseXml(text: string): XmlElement {
  const document: XmlElement = { name: '', text: '', children: [] }
  const open = [document]
  for (const [, data, close, name, empty, words] of text.matchAll(TOKEN)) {
    const top = open.at(-1) as XmlElement
    if (data !== undefined) top.text += data
    else if (words !== undefined) top.text += unescaped(words)
    else if (close === '/') {
      if (open.length === 1 || top.name !== name) throw new Error(`the reply is no XML: </${name}> ends nothing`)
      open.pop()
    } else if (name !== undefined) {
      const element: XmlElement = { name, text: '', children: [] }
      top.children.push(element)
      if (empty !== '/') open.push(element)
      if (open.length > DEPTH) throw new Error(`the reply is no XML of AWS: more than ${DEPTH} elements inside each other`)
    }
  }
  const root = document.children[0]
  if (open.length !== 1 || !root) throw new Error('the reply is no whole XML document')
  return root
}

/** The first element of a path below this one. */
export function within(element: XmlElement | undefined, ...path: string[]): XmlElement | undefined {
  return path.reduce<XmlElement | undefined>((found, name) => found?.children.find((child) => child.name === name), element)
}

/** Its text; undefined when there is no such element. */
export function textIn(element: XmlElement | undefined, ...path: string[]): string | undefined {
  return within(element, ...path)?.text
}

/** All elements of a name directly below this one. */
export function allIn(element: XmlElement | undefined, name: string): XmlElement[] {
  return element?.children.filter((child) => child.name === name) ?? []
}

export function escaped(text: string): string {
  return text.replace(/[<>&"'\r]/g, (sign) => `&#${sign.charCodeAt(0)};`)
}

function unescaped(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex, decimal, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16)
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}
