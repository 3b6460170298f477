import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'

export interface MqttServer {
  host: string
  port: number
  tls: TlsOptions | undefined
  username: string | undefined
  password: string | undefined
}

/** The settings that both MQTT components share. */
export const mqttFields: readonly MetadataField[] = [
  {
    name: 'url',
    kind: 'string',
    required: true,
    sensitive: true,
    description: 'Broker, e.g. mqtt://user:password@host:1883; with TLS mqtts, tcps, tls or ssl. WebSockets are not supported.',
  },
  { name: 'retain', kind: 'bool', default: 'false', description: 'The broker keeps the last message of a topic for who subscribes later.' },
  {
    name: 'cleanSession',
    kind: 'bool',
    default: 'false',
    description: 'The broker forgets subscriptions and messages of this client when it goes.',
  },
  { name: 'caCert', kind: 'string', description: "Certificate of the broker's authority, PEM." },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Key of the client certificate, PEM.' },
  {
    name: 'writeTimeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Limit for connecting, and for a publish until the broker has it.',
  },
  {
    name: 'concurrency',
    kind: 'int',
    default: '10',
    min: 1,
    max: 10_000,
    description:
      'Messages that may be at the app at once per subscription; 1 keeps the order. The broker has a limit of its own (Mosquitto: 20), over all topics of the component.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait before a message that was not handled is tried again; the first is 100 ms.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    unit: 1,
    default: '5s',
    description: 'How long running handlers may take to finish when a subscription ends.',
  },
]

const PLAIN = ['mqtt:', 'tcp:']
const SECURE = ['mqtts:', 'tcps:', 'tls:', 'ssl:']

/** Where the broker is. Throws MetadataError naming the field; the URL may hold a password and is not shown. */
export function serverOf(values: MetadataValues): MqttServer {
  const written = URL.parse(values.url as string)
  if (written === null || !written.host) throw new MetadataError('metadata field url is not a URL such as mqtt://host:1883')
  const secure = SECURE.includes(written.protocol)
  if (!secure && !PLAIN.includes(written.protocol))
    throw new MetadataError(`metadata field url: ${written.protocol} is not supported; use one of ${[...PLAIN, ...SECURE].join(' ')}`)
  const pem = (name: string) => {
    const text = values[name] as string | undefined
    if (text && !text.includes('-----BEGIN ')) throw new MetadataError(`metadata field ${name} is not PEM`)
    return text
  }
  const [ca, cert, key] = [pem('caCert'), pem('clientCert'), pem('clientKey')]
  return {
    host: written.hostname.replace(/^\[|\]$/g, ''),
    port: Number(written.port) || (secure ? 8883 : 1883),
    tls: secure ? { ...(ca ? { ca } : {}), ...(cert && key ? { cert, key } : {}) } : undefined,
    username: written.username ? decodeURIComponent(written.username) : undefined,
    password: written.password ? decodeURIComponent(written.password) : undefined,
  }
}
