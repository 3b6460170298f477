import rhea from 'rhea'

const { types } = rhea
export const BATCH = 0x80013700
const ANNOTATIONS = 0x72
const DATA = 0x75

/** The sections of an encoded message, each with its descriptor, its value and its bytes as they came. */
export function sectionsOf(bytes) {
  const reader = new types.Reader(bytes)
  const sections = []
  while (reader.remaining() > 0) {
    const from = reader.position
    const section = reader.read()
    sections.push({ code: Number(section.descriptor.value), value: section.value, bytes: bytes.subarray(from, reader.position) })
  }
  return sections
}

/** The messages of a transfer: of a batch those in its data sections. */
export function messagesOf(bytes, format) {
  const sections = sectionsOf(bytes)
  if (format !== BATCH) return [sections]
  return sections.filter(({ code }) => code === DATA).map(({ value }) => sectionsOf(value))
}

/** A message annotation; undefined when the message has none of this name. */
export function annotationOf(sections, name) {
  return annotationsOf(sections)[name]?.value
}

/** By name, typed as they came. */
function annotationsOf(sections) {
  const flat = sections.find(({ code }) => code === ANNOTATIONS)?.value ?? []
  return Object.fromEntries(flat.flatMap((item, index) => (index % 2 === 0 ? [[item.value, flat[index + 1]]] : [])))
}

/** The event as it was sent, with what the service adds. */
export function delivered({ sequence, offset, time, key, sections }) {
  const annotations = {
    ...annotationsOf(sections),
    'x-opt-sequence-number': types.wrap_long(sequence),
    'x-opt-offset': types.wrap_string(String(offset)),
    'x-opt-enqueued-time': types.wrap_timestamp(time),
    ...(key === undefined ? {} : { 'x-opt-partition-key': types.wrap_string(key) }),
  }
  const writer = new types.Writer()
  writer.write(types.wrap_described(types.wrap_symbolic_map(annotations), ANNOTATIONS))
  const before = sections.filter(({ code }) => code < ANNOTATIONS)
  const behind = sections.filter(({ code }) => code > ANNOTATIONS)
  return Buffer.concat([...before.map(({ bytes }) => bytes), writer.toBuffer(), ...behind.map(({ bytes }) => bytes)])
}
