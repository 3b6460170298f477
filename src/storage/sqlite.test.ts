import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { openSqlite } from './sqlite.ts'

test('a file that another process is just making is waited for', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-sqlite-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'new.db')
  // Between making the file and giving it a journal, for a while: SQLite itself does not wait for that.
  const other = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const database = new (require('node:sqlite').DatabaseSync)(workerData)
     database.exec('CREATE TABLE t (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)')
     parentPort.postMessage('held')
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
     database.exec('COMMIT')
     database.close()`,
    { eval: true, workerData: file },
  )
  await once(other, 'message')
  const database = openSqlite(file)
  assert.deepEqual({ ...database.prepare('SELECT a FROM t').get() }, { a: 1 })
  assert.deepEqual({ ...database.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' })
  database.close()
  await other.terminate()
  const holder = openSqlite(join(directory, 'held.db'), { journal: 'DELETE' })
  holder.exec('CREATE TABLE t (a); BEGIN IMMEDIATE')
  assert.throws(() => openSqlite(join(directory, 'held.db'), { busyTimeout: 50 }), /cannot open SQLite file .*held\.db: database is locked/)
  holder.close()
})
