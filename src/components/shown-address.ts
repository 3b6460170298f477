/** An address or URL that cannot be used, as a message may quote it: without the login that people write in front of the host. */
export function shownAddress(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1(hidden)@')
}
