import { connect } from 'node:net'
import { createTransport, type Transporter } from 'nodemailer'
import type { Binding } from '../../../blocks/bindings/driver.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  { name: 'host', kind: 'string', required: true, description: 'Mail server.' },
  {
    name: 'port',
    kind: 'int',
    required: true,
    min: 1,
    max: 65_535,
    description: 'Its port; 465 speaks TLS from the start, others begin it when the server offers it.',
  },
  { name: 'user', kind: 'string', description: 'User; with password, or neither.' },
  { name: 'password', kind: 'string', sensitive: true, description: 'Password of the user.' },
  { name: 'skipTLSVerify', kind: 'bool', default: 'false', description: 'Trusts every certificate of the server.' },
  { name: 'emailFrom', kind: 'string', description: 'Sender.' },
  { name: 'emailTo', kind: 'string', description: 'Receivers, with semicolons between them.' },
  { name: 'emailCC', kind: 'string', description: 'Receivers of a copy.' },
  { name: 'emailBCC', kind: 'string', description: 'Receivers of a copy that others do not see.' },
  { name: 'subject', kind: 'string', description: 'Subject.' },
  { name: 'priority', kind: 'int', default: '3', min: 1, max: 5, description: 'From 1, high, to 5, low.' },
]

/** Settings that a request's metadata may have instead, for that request alone. */
const PER_MAIL = ['emailFrom', 'emailTo', 'emailCC', 'emailBCC', 'subject', 'priority'] as const
type PerMail = Partial<Record<(typeof PER_MAIL)[number], string>>

/** bindings.smtp: sends mail. */
export const driver: DriverModule<Binding> = {
  summary: 'Sends e-mail over SMTP.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const host = String(values.host)
    const port = Number(values.port)
    const user = values.user === undefined ? '' : String(values.user)
    const password = values.password === undefined ? '' : String(values.password)
    if ((user === '') !== (password === ''))
      throw new MetadataError('both user and password fields are required for SMTP authentication, or neither')
    const defaults: PerMail = {}
    for (const name of PER_MAIL) if (values[name] !== undefined) defaults[name] = String(values[name])
    let mails: Transporter | undefined

    return {
      operations: ['create'],
      async init() {
        mails = createTransport({
          host,
          port,
          secure: port === 465,
          ...(user !== '' && { auth: { user, pass: password } }),
          tls: { rejectUnauthorized: values.skipTLSVerify !== true },
          pool: true,
          maxConnections: 4,
          connectionTimeout: 10_000,
          socketTimeout: 30_000,
          // Text of a mail is never read as a path or a URL.
          disableFileAccess: true,
          disableUrlAccess: true,
        })
      },
      ping: (signal) => reachable(host, port, signal),
      async invoke({ data, metadata }) {
        const mail: PerMail = { ...defaults, ...pick(metadata) }
        for (const name of PER_MAIL)
          if (/[\r\n\0]/.test(mail[name] ?? ''))
            throw new Error(`smtp binding error: ${name} holds a line break, which would begin another header`)
        if (!mail.emailFrom) throw new Error('smtp binding error: emailFrom property not supplied in configuration- or request-metadata')
        if (!mail.emailTo && !mail.emailCC && !mail.emailBCC)
          throw new Error('smtp binding error: no receiver, emailTo, emailCC and emailBCC are empty in configuration- and request-metadata')
        if (!mail.subject) throw new Error('smtp binding error: subject property not supplied in configuration- or request-metadata')
        const priority = Number(mail.priority)
        if (!(Number.isInteger(priority) && priority >= 1 && priority <= 5))
          throw new Error(`smtp binding error: priority ${mail.priority} is not a whole number from 1 to 5`)
        await (mails as Transporter).sendMail({
          from: mail.emailFrom,
          to: receivers(mail.emailTo),
          cc: receivers(mail.emailCC),
          bcc: receivers(mail.emailBCC),
          subject: mail.subject,
          headers: { 'X-priority': String(priority) },
          html: unquoted(data.toString()),
        })
        return undefined
      },
      async [Symbol.asyncDispose]() {
        mails?.close()
      },
    }
  },
}

function pick(metadata: Readonly<Record<string, string>>): PerMail {
  const found: PerMail = {}
  for (const name of PER_MAIL) {
    const value = metadata[name]
    if (value !== undefined && value !== '') found[name] = value
  }
  return found
}

function receivers(list: string | undefined): string[] {
  return (list ?? '')
    .split(';')
    .map((address) => address.trim())
    .filter((address) => address !== '')
}

/** A body that came as a JSON text is the text. */
function unquoted(body: string): string {
  if (!body.startsWith('"')) return body
  try {
    return String(JSON.parse(body))
  } catch {
    return body
  }
}

function reachable(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal }, () => {
      socket.destroy()
      resolve()
    })
    socket.once('error', reject)
  })
}
