export type FieldKind = 'text' | 'number' | 'flag' | 'list' | 'address' | 'net'

/** Falco's fields that are known here, and what kind of value each has. A `list` holds several; one that fits is enough. */
export const FIELDS: Readonly<Record<string, FieldKind>> = {
  'evt.type': 'text',
  'evt.dir': 'text',
  'evt.time': 'text',
  'evt.time.iso8601': 'text',
  'evt.datetime': 'text',
  'evt.rawtime': 'number',
  'evt.hostname': 'text',
  'evt.res': 'text',
  'evt.rawres': 'number',
  'evt.failed': 'flag',
  'evt.num': 'number',
  'evt.is_open_write': 'flag',
  'proc.pid': 'number',
  'proc.vpid': 'number',
  'proc.ppid': 'number',
  'proc.sid': 'number',
  'proc.tty': 'number',
  'proc.name': 'text',
  'proc.pname': 'text',
  'proc.exe': 'text',
  'proc.pexe': 'text',
  'proc.exepath': 'text',
  'proc.pexepath': 'text',
  'proc.cmdline': 'text',
  'proc.pcmdline': 'text',
  'proc.args': 'text',
  'proc.cwd': 'text',
  'proc.aname': 'list',
  'proc.acmdline': 'list',
  'proc.aexepath': 'list',
  'proc.apid': 'list',
  'proc.aexe': 'list',
  'proc.duration': 'number',
  'proc.is_exe_from_memfd': 'flag',
  'user.uid': 'number',
  'user.name': 'text',
  'user.loginuid': 'number',
  'user.loginname': 'text',
  'group.gid': 'number',
  'group.name': 'text',
  'container.id': 'text',
  'k8s.ns.name': 'text',
  'k8s.pod.name': 'text',
  'fd.num': 'number',
  'fd.name': 'text',
  'fd.nameraw': 'text',
  'fd.connected': 'flag',
  'fd.name_changed': 'flag',
  'fd.sockfamily': 'text',
  'fd.directory': 'text',
  'fd.filename': 'text',
  'fs.path.name': 'text',
  'fd.type': 'text',
  'fd.typechar': 'text',
  'fd.l4proto': 'text',
  'fd.ip': 'address',
  'fd.cip': 'address',
  'fd.sip': 'address',
  'fd.lip': 'address',
  'fd.rip': 'address',
  'fd.port': 'list',
  'fd.cport': 'number',
  'fd.sport': 'number',
  'fd.lport': 'number',
  'fd.rport': 'number',
  'fd.net': 'net',
  'fd.cnet': 'net',
  'fd.snet': 'net',
  'fd.lnet': 'net',
  'fd.rnet': 'net',
}

/** Falco's fields of which people ask, and why they are not seen here. */
export const NOT_SEEN: Readonly<Record<string, string>> = {
  'evt.is_open_read': 'who reads a file is not seen here',
  'evt.is_open_exec': 'who reads a file is not seen here',
}

export type Value = string | number | boolean | readonly (string | number)[] | undefined

/** One thing that happened, by the fields above; a field that is not there is not known. */
export interface SecurityEvent {
  /** Epoch milliseconds at which it was seen. */
  at: number
  fields: Readonly<Record<string, Value>>
}

/** Value of `name` or `name[argument]`. */
export function valueOfField({ fields }: SecurityEvent, name: string, argument: string | undefined): Value {
  const value = fields[name.replace(/net$/, (end) => (FIELDS[name] === 'net' ? 'ip' : end))]
  if (argument === undefined) return value
  return Array.isArray(value) ? (value as readonly (string | number)[])[Number(argument)] : undefined
}
