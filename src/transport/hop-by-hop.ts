/** `Connection` has a say of its own in requests: it names more headers that do not travel. */
export const BESIDE_CONNECTION: readonly string[] = [
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'te',
  'trailer',
  'proxy-authorization',
  'proxy-authenticate',
]

/** Headers that belong to one connection and never travel on. */
export const HOP_BY_HOP: readonly string[] = ['connection', ...BESIDE_CONNECTION]
