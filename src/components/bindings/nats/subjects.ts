const WILDCARD = /(^|\.)[*>](\.|$)/

/** What is wrong with a subject, to the end of a sentence; undefined when nothing is. Only reading knows wildcards. */
export function subjectFault(subject: string, use: 'read' | 'publish'): string | undefined {
  const quoted = JSON.stringify(subject)
  // White space would end the subject in the protocol.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\s\x00-\x1f\x7f]/.test(subject)) return `${quoted} has white space or control characters in it`
  if (subject.split('.').some((token) => token === ''))
    return `${quoted} has an empty part; write parts with one dot between them, e.g. orders.new`
  if (use === 'publish' && WILDCARD.test(subject)) return `${quoted} has a wildcard; name one subject`
  if (use === 'read' && /(^|\.)>\./.test(subject)) return `${quoted} goes on after >, which stands at the end only`
  return undefined
}
