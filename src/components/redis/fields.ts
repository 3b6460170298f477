import type { MetadataField } from '../metadata.ts'
import { loginFields } from './login.ts'

/** The connection settings that all of Dapr's Redis components share; bare numbers in durations are milliseconds. */
export const redisFields: readonly MetadataField[] = [
  {
    name: 'redisHost',
    kind: 'string',
    required: true,
    description: 'host[:port] of the server; a comma-separated list for a cluster or sentinels.',
  },
  { name: 'redisPort', kind: 'int', min: 1, max: 65535, description: 'Port, when redisHost names none. Default 6379.' },
  { name: 'redisUsername', kind: 'string', default: '', description: 'User of Redis ACLs.' },
  { name: 'redisPassword', kind: 'string', default: '', sensitive: true, description: 'Password.' },
  ...loginFields,
  { name: 'redisType', kind: 'enum', values: ['node', 'cluster'], default: 'node', description: 'One server, or a cluster.' },
  { name: 'redisDB', kind: 'int', aliases: ['redisDb'], default: '0', min: 0, description: 'Database number; a cluster has only 0.' },
  { name: 'failover', kind: 'bool', default: 'false', description: 'redisHost names sentinels.' },
  { name: 'sentinelMasterName', kind: 'string', description: 'Name of the master that the sentinels watch.' },
  { name: 'sentinelUsername', kind: 'string', description: 'User at the sentinels.' },
  { name: 'sentinelPassword', kind: 'string', sensitive: true, description: 'Password at the sentinels.' },
  { name: 'enableTLS', kind: 'bool', default: 'false', description: 'Talks TLS.' },
  { name: 'insecureSkipTLSVerify', kind: 'bool', default: 'false', description: "Does not check the server's certificate." },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Key of the client certificate, PEM.' },
  {
    name: 'redisMaxRetries',
    kind: 'int',
    aliases: ['maxRetries'],
    default: '3',
    description: 'How often a command is sent again over a new connection; -1: never.',
  },
  {
    name: 'redisMinRetryInterval',
    kind: 'duration',
    unit: 1,
    aliases: ['maxRetryBackoff'],
    default: '8ms',
    description: 'First wait before connecting again.',
  },
  { name: 'redisMaxRetryInterval', kind: 'duration', unit: 1, default: '512ms', description: 'Longest wait before connecting again.' },
  { name: 'dialTimeout', kind: 'duration', unit: 1, default: '5s', description: 'Limit for connecting.' },
  { name: 'readTimeout', kind: 'duration', unit: 1, default: '3s', description: 'Limit for an answer; negative: none.' },
]
