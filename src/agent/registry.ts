import type { OpenRole } from './role.ts'

/** The roles by their kind of resource. A role's code loads when a resource asks for it. */
export const ROLES: Readonly<Record<string, () => Promise<OpenRole>>> = {
  Proxy: async () => (await import('../proxy/role.ts')).openProxy,
}
