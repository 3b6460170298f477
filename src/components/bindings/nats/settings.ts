import { MetadataError, type MetadataField, type MetadataValues, parseMetadata } from '../../metadata.ts'
import { natsFields } from '../../nats/fields.ts'
import { drainTimeoutField } from '../../pubsub/fields.ts'
import { subjectFault } from './subjects.ts'

/** All ours: Dapr has no bindings.nats. */
export const fields: readonly MetadataField[] = [
  ...natsFields.map((field) => (field.name === 'natsURL' ? { ...field, required: true } : field)),
  { name: 'name', kind: 'string', default: 'outrider - bindings.nats', description: 'Name of the connection.' },
  {
    name: 'subject',
    kind: 'string',
    description:
      'Subjects to read: a comma-separated list, wildcards (`*`, `>`) allowed. A single one without wildcards is also where output goes that names none.',
  },
  {
    name: 'queueGroup',
    kind: 'string',
    description: 'Members of a group share the messages, one each. Without it every sidecar gets every message.',
  },
  {
    name: 'concurrency',
    kind: 'int',
    default: '100',
    min: 1,
    max: 10_000,
    description: 'Messages that may be at the app at once; 1 keeps the order.',
  },
  {
    name: 'pendingLimit',
    kind: 'int',
    default: '10000',
    min: 1,
    max: 1_000_000,
    description: 'Messages that may wait for the app, of 64 MiB together at most; those past it are dropped with a warning.',
  },
  {
    name: 'respond',
    kind: 'bool',
    default: 'true',
    description:
      "Sends the app's answer to the reply subject of a message. Turn it off for subjects of JetStream streams, whose publishers expect the stream's answer there.",
  },
  {
    name: 'timeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait of a request for its reply; a request may set its own.',
  },
  {
    name: 'publishTimeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait of a create for a server that is away or slow.',
  },
  { ...drainTimeoutField, description: 'How long messages that are here already may take to be handled when reading ends.' },
]

export interface Settings {
  values: MetadataValues
  /** To read. */
  subjects: readonly string[]
  /** Where output goes by itself; undefined: there is not one such subject. */
  target: string | undefined
}

/** Throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): Settings {
  const values = parseMetadata(fields, properties)
  const subjects = ((values.subject as string | undefined) ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')
  for (const one of subjects) {
    const fault = subjectFault(one, 'read')
    if (fault) throw new MetadataError(`metadata field subject: ${fault}`)
  }
  if (/\s/.test((values.queueGroup as string | undefined) ?? ''))
    throw new MetadataError(`metadata field queueGroup: ${JSON.stringify(values.queueGroup)} has white space in it`)
  const [only] = subjects
  return { values, subjects, target: subjects.length === 1 && only && !subjectFault(only, 'publish') ? only : undefined }
}
