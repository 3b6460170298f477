import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import pg from 'pg'
import { postgresServer } from '../../../test/servers/postgres.ts'
import { Lanes } from './lanes.ts'

const server = await postgresServer()
after(() => server?.stop())

describe('statements in lanes', { skip: server ? false : 'no PostgreSQL' }, () => {
  const open = (timeout = 10_000) =>
    new Lanes({ connectionString: server?.url ?? '', connectionTimeoutMillis: 5000, query_timeout: timeout }, 2)
  const double = (value: number) => ({ name: 'double', text: 'SELECT $1::int * 2 AS twice', values: [value] })

  it('gives each its own answer, and a failing one its error alone', async () => {
    await using lanes = open()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 500 }, (_, index) =>
        index % 50 === 7
          ? lanes.query({ text: 'SELECT 1 / $1::int AS twice', values: [0] })
          : lanes.query<{ twice: number }>(double(index)),
      ),
    )
    for (const [index, outcome] of outcomes.entries()) {
      if (index % 50 === 7) assert.match(String((outcome as PromiseRejectedResult).reason), /division by zero/)
      else assert.deepEqual((outcome as PromiseFulfilledResult<pg.QueryResult>).value.rows, [{ twice: index * 2 }])
    }
    const { rows } = await lanes.query<{ count: number }>({
      text: "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%twice%'",
      values: [],
    })
    assert.ok((rows[0]?.count ?? 9) <= 3, 'at most two connections, and this one')
  })

  it('goes on over a new connection when the server ends one, and after a statement that had no answer in time', async () => {
    await using lanes = open(1000)
    assert.equal((await lanes.query<{ twice: number }>(double(4))).rows[0]?.twice, 8)
    const other = new pg.Client(server?.url ?? '')
    await other.connect()
    await other.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%twice%' AND pid <> pg_backend_pid()")
    await other.end()
    for (let tries = 0; ; tries++) {
      const answer = await lanes.query<{ twice: number }>(double(5)).catch(() => undefined)
      if (answer) break
      assert.ok(tries < 2, 'a broken connection is used once at most')
    }
    const [slow, behind] = await Promise.allSettled([
      lanes.query({ text: 'SELECT pg_sleep(5)', values: [] }),
      // In the same lane: it would wait five seconds.
      lanes.query(double(6)),
    ])
    assert.match(String((slow as PromiseRejectedResult).reason), /timeout/)
    assert.equal(behind?.status, 'rejected')
    assert.equal((await lanes.query<{ twice: number }>(double(7))).rows[0]?.twice, 14)
  })
})
