import type { OpenRole } from './role.ts'

/** The roles by their kind of resource. A role's code loads when a resource asks for it. */
export const ROLES: Readonly<Record<string, () => Promise<OpenRole>>> = {
  ConfigServer: async () => (await import('./config/config-server.ts')).openConfigServer,
  MetricsAdapter: async () => (await import('./metrics/metrics-adapter.ts')).openMetricsAdapter,
  LogPipeline: async () => (await import('./logs/open.ts')).openLogPipeline,
  Proxy: async () => (await import('../proxy/role.ts')).openProxy,
  SecretFiles: async () => (await import('./secrets/secret-files.ts')).openSecretFiles,
  SecurityRules: async () => (await import('./security/security-rules.ts')).openSecurityRules,
}
