import type { Wishes } from './wishes.ts'

export type EnvVar = { name: string; value?: string; valueFrom?: Record<string, unknown> }
export type VolumeMount = { name: string; mountPath: string; readOnly?: true }

/** A comma parts two variables only when a name and an equals sign follow it: values may have commas. */
const NEXT = /,(?=\s*[A-Za-z_][A-Za-z0-9_]*=)/

/** What the annotations env and env-from-secret name, and the list of those names, which components may read. */
export function envFromAnnotations(wishes: Wishes): EnvVar[] {
  const plain = pairs(wishes.text('env'))
  const secret = pairs(wishes.text('env-from-secret'))
  const names = [...plain, ...secret].map(([name]) => name)
  return [
    ...plain.map(([name, value]): EnvVar => ({ name, ...(value !== '' && { value }) })),
    ...secret.flatMap(([name, text]): EnvVar[] => {
      const parts = text.trim().split(':')
      if (parts.length > 2) {
        wishes.warn(`env-from-secret: ${name} is left out; expected ${name}=SECRET or ${name}=SECRET:FIELD`)
        return []
      }
      const [from = '', key = from] = parts.map((part) => part.trim())
      return [{ name, valueFrom: { secretKeyRef: { name: from, key } } }]
    }),
    ...(names.length > 0 ? [{ name: 'DAPR_ENV_KEYS', value: names.join(' ') }] : []),
  ]
}

/** Where pluggable components have their sockets, in their containers and in the sidecar's. */
export function componentsFolder(wishes: Wishes): string {
  return wishes.text('pluggable-components-sockets-folder') || process.env.DAPR_COMPONENT_SOCKETS_FOLDER || '/tmp/dapr-components-sockets'
}

/** `name:path,name:path` of the annotation, for volumes that the pod has. */
export function mountsOf(wishes: Wishes, annotation: string, volumes: ReadonlySet<string>): VolumeMount[] {
  return wishes
    .text(annotation)
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
    .flatMap((item): VolumeMount[] => {
      const [name = '', mountPath, ...rest] = item.split(':')
      if (mountPath === undefined || rest.length > 0) {
        wishes.warn(`${annotation}: "${item}" is left out; expected name:path`)
        return []
      }
      if (!volumes.has(name)) {
        wishes.warn(`${annotation}: the pod has no volume "${name}"; its mount is left out`)
        return []
      }
      return [{ name, mountPath, ...(annotation === 'volume-mounts' && { readOnly: true as const }) }]
    })
}

function pairs(text: string): [name: string, value: string][] {
  return text.split(NEXT).flatMap((item): [string, string][] => {
    const trimmed = item.trim()
    const equals = trimmed.indexOf('=')
    return equals < 0 ? [] : [[trimmed.slice(0, equals), trimmed.slice(equals + 1)]]
  })
}
