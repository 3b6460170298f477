import { headers, type Msg, type MsgHdrs } from '@nats-io/transport-node'

/** What a request's metadata say beside headers. */
const OWN = new Set(['subject', 'reply', 'timeout'])

/** Metadata as headers of a message; throws an error that names the one which cannot be. */
export function headersOf(metadata: Readonly<Record<string, string>>): MsgHdrs | undefined {
  let given: MsgHdrs | undefined
  for (const [name, value] of Object.entries(metadata)) {
    if (OWN.has(name)) continue
    // Checked here: a line end in either would be another header.
    if (!/^[!-9;-~]+$/.test(name))
      throw new Error(`metadata ${JSON.stringify(name)} cannot be a header of a NATS message: correct the name`)
    if (/[\r\n]/.test(value)) throw new Error(`metadata ${name} cannot be a header of a NATS message: there is a line end in its value`)
    given ??= headers()
    given.set(name, value)
  }
  return given
}

/** Headers of a message as metadata; several values of one with commas between them. */
export function metadataOf(message: Msg): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const name of message.headers?.keys() ?? []) metadata[name] = message.headers?.values(name).join(',') ?? ''
  return metadata
}

export function bufferOf({ data }: Msg): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}
