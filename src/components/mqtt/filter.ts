/** A topic filter without the `$share/<group>/` before it. */
export function plainFilter(filter: string): string {
  return /^\$share\/[^/]*\/(.+)$/s.exec(filter)?.[1] ?? filter
}

/** Whether a topic is one that the filter means; `+` is one level, `#` the rest, also none (MQTT 3.1.1, 4.7). */
export function matches(filter: string, topic: string): boolean {
  const wanted = plainFilter(filter).split('/')
  const levels = topic.split('/')
  // Topics that begin with $ are the broker's own; a wildcard in the first place does not mean them.
  if (topic.startsWith('$') && (wanted[0] === '#' || wanted[0] === '+')) return false
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false
  }
  return wanted.length === levels.length
}
