import type { ServerKind } from './server.ts'

/** In no registry: only one that is named can be asked, such as Babelfish, PostgreSQL that speaks SQL Server's protocol. */
export const sqlserver: ServerKind = {
  name: 'SQL Server',
  variable: 'OUTRIDER_TEST_SQLSERVER',
  form: 'sqlserver://user:password@host:port?encrypt=… (a user who may create databases)',
  wants: 'a SQL Server or Babelfish',
  unlisted: true,
  available: () => false,
  start: () => Promise.reject(new Error('there is none to start')),
}
