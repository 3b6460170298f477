import { execFile, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'
import { sidRoot, unpackSid } from './sid.ts'

const folder = join(import.meta.dirname, 'mysql', 'target')
const root = sidRoot(join(folder, 'root'))
/** A server's data as they are at first: making them takes seconds, copying them does not. */
const template = join(folder, 'data')
const complete = join(folder, 'complete')
/** Not empty, so that whoever signs in has to prove it: `caching_sha2_password` asks nothing of an empty one. */
const PASSWORD = 'secret'

/** Brings MySQL from Debian sid, once: the Debian that these tests run on has MariaDB only. */
export async function installMysql(): Promise<void> {
  if (existsSync(complete)) return
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await unpackSid('mysql-server-core', root.folder)
  for (const spent of ['usr/bin', 'usr/share/doc', 'usr/share/perl', 'usr/share/locale', 'usr/lib/x86_64-linux-gnu/perl'])
    rmSync(join(root.folder, spent), { recursive: true, force: true })
  const accounts = join(folder, 'accounts.sql')
  writeFileSync(
    accounts,
    `CREATE USER root@'127.0.0.1' IDENTIFIED BY '${PASSWORD}'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;`.replaceAll(
      '; ',
      ';\n',
    ),
  )
  const [program, args] = root.command('usr/sbin/mysqld')
  await promisify(execFile)(program, [...args, ...settings(template), '--initialize-insecure', `--init-file=${accounts}`])
  writeFileSync(complete, '')
}

export const mysql: ServerKind = {
  name: 'MySQL',
  variable: 'OUTRIDER_TEST_MYSQL',
  form: 'mysql://user:password@host:port (a user who may create databases)',
  wants: 'mysql-server-core of Debian sid: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete),
  start: () => startMysql(),
}

/** With more arguments for mysqld, e.g. `--ssl-cert=…`. */
export async function startMysql(more: readonly string[] = []): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-mysql-'))
  const data = join(directory, 'data')
  cpSync(template, data, { recursive: true })
  // Its name among servers: none is another's copy.
  rmSync(join(data, 'auto.cnf'), { force: true })
  const port = await freePort()
  const [program, args] = root.command('usr/sbin/mysqld')
  const child = spawn(
    program,
    [
      ...args,
      ...settings(data),
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(directory, 'socket')}`,
      `--pid-file=${join(directory, 'pid')}`,
      '--skip-name-resolve',
      ...more,
    ],
    { cwd: directory, env: { PATH: process.env.PATH, LC_ALL: 'C', HOME: directory }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /ready for connections/, 'mysqld', directory)
  return { address: `mysql://root:${PASSWORD}@127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
}

function settings(data: string): string[] {
  return [
    '--no-defaults',
    // It would rather not be root, but the folder may be one that only root can read.
    ...(process.getuid?.() === 0 ? ['--user=root'] : []),
    `--datadir=${data}`,
    `--basedir=${join(root.folder, 'usr')}`,
    `--lc-messages-dir=${join(root.folder, 'usr/share/mysql')}`,
    `--plugin-dir=${join(root.folder, 'usr/lib/mysql/plugin')}`,
    '--secure-file-priv=NULL',
    '--mysqlx=OFF',
    '--disable-log-bin',
    '--performance-schema=OFF',
    '--innodb-buffer-pool-size=16M',
    '--innodb-redo-log-capacity=32M',
    '--innodb-flush-log-at-trx-commit=0',
    '--skip-innodb-doublewrite',
  ]
}
