/** More spaces than any resource is indented by. */
const DEEP = ' '.repeat(100)

/**
 * The text as Go's reader takes it, where the standard does not: tabs in front of the lines of a quoted text, and such lines that
 * are indented less than what they belong to. Lines stay where they are; what stands in quotes means the same.
 */
export function asGoReads(text: string): string {
  return text
    .replace(/^[ \t]*\t/gm, (indent) => indent.replaceAll('\t', '        '))
    .replace(/((?::|-)[ ]+)('(?:[^']|'')*'|"(?:[^"\\]|\\[\s\S])*")/g, (_, before: string, quoted: string) =>
      quoted.includes('\n') ? before + quoted.replace(/\n(?=[ \t]*\S)[ \t]*/g, `\n${DEEP}`) : before + quoted,
    )
}
