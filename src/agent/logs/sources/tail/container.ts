/** What a container runtime wrote about one line. */
export interface ContainerLine {
  message: string
  stream: string
  time: string | undefined
  /** The runtime cut the line here; the next one of the stream goes on with it. */
  cut: boolean
}

const CRI = /^(\S+) (stdout|stderr) ([PF])(?::\S*)? ?(.*)$/s

/** `<time> <stream> <P|F> <text>`, as containerd and CRI-O write; undefined: it is none. */
export function parseCri(line: string): ContainerLine | undefined {
  const found = CRI.exec(line)
  return found ? { time: found[1], stream: found[2] as string, cut: found[3] === 'P', message: found[4] as string } : undefined
}

/** `{"log":"…\n","stream":"stdout","time":"…"}`, as Docker's json-file writes; undefined: it is none. */
export function parseDocker(line: string): ContainerLine | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const { log, stream, time } = JSON.parse(line) as Record<string, unknown>
    if (typeof log !== 'string') return undefined
    const whole = log.endsWith('\n')
    return {
      message: whole ? log.slice(0, log.endsWith('\r\n') ? -2 : -1) : log,
      stream: typeof stream === 'string' ? stream : 'stdout',
      time: typeof time === 'string' ? time : undefined,
      cut: !whole,
    }
  } catch {
    return undefined
  }
}
