import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readConnectionString } from './connection-string.ts'
import { login, prelogin, readPrelogin } from './login.ts'
import { MESSAGE, MessageReader, packetsOf } from './packets.ts'
import { readAnswer } from './tokens.ts'

// What Babelfish 4.3 answered, recorded by ourselves.
const PRELOGIN = '0401002b0000000000001a00060100200001020021000103002200000400220001ff0c0007d00000020000'
const SIGNED_IN =
  '040100d400000000e30f0001066d006100730074006500720000ab6a0000000000010025004300680061006e00670065006400200064006100740061006200610073006500200063006f006e007400650078007400200074006f00200027006d006100730074006500720027002e000942004100420045004c0046004900530048000000000000e3080007050904d0003400ad32000174000004144d006900630072006f0073006f00660074002000530051004c0020005300650072007600650072000c0007d0fd000002000000000000000000'
const ROW =
  '0401010300000000810600000000000900e70c000904d00034086e007600610072006300680061007200000000000900e7ffff0904d000342062006100620065006c0066006900730068005f0063006f006e0076005f00680065006c007000650072005f0074006f005f007600610072006300680061007200000000000900a508000000000000090026080469006e007400380000000000090026040000000000090026040240006e00d2100600fc003dd842de0800000000000000080000006c006f006e006700000000000800010203040506070808050000000000000004f9ffffffff1100c10001000000000000007900000000fe0000e0000000000000000000'
const REFUSED =
  '0401007000000000aa5800690a000201101c0063006f006c0075006d006e00200022006e006f00700065002200200064006f006500730020006e006f0074002000650078006900730074000942004100420045004c0046004900530048000001000000fe020002000000000000000000'

/** The one message in bytes that come in pieces of this size. */
function message(hex: string, size = 3): Buffer {
  const found: Buffer[] = []
  const reader = new MessageReader((body) => found.push(Buffer.from(body)))
  const bytes = Buffer.from(hex, 'hex')
  for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size))
  assert.equal(found.length, 1)
  return found[0] as Buffer
}

describe('the protocol of SQL Server', () => {
  it('reads the answers to a login', () => {
    assert.deepEqual(readPrelogin(message(PRELOGIN)), { encryption: 2, echo: false })
    const answer = readAnswer(message(SIGNED_IN))
    assert.equal(answer.signedIn, true)
    assert.equal(answer.error, undefined)
  })

  it('reads rows: texts, a long one, bytes, numbers and NULL', () => {
    const { rows, affected } = readAnswer(message(ROW))
    assert.deepEqual(rows, [['ü🙂', 'long', Buffer.from('0102030405060708', 'hex'), 5n, null, -7n]])
    assert.equal(affected, 0, 'rows that are read are not changed')
  })

  it('reads a refusal', () => {
    const { error } = readAnswer(message(REFUSED))
    assert.equal(error?.number, 33557097)
    assert.equal(error?.message, 'column "nope" does not exist')
  })

  it('fails on an answer that is cut off, and on what is no packet', () => {
    const body = message(ROW)
    for (const length of [10, 60, 150, 200]) assert.throws(() => readAnswer(body.subarray(0, length)), `${length} bytes`)
    const reader = new MessageReader(() => {})
    assert.throws(() => reader.push(Buffer.from('HTTP/1.1 400 Bad Request\r\n')), /does not speak the protocol/)
  })

  it('parts a message into packets and puts it together again', () => {
    const body = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 0xff))
    for (const size of [512, 4096, 32_000]) {
      const packets = packetsOf(MESSAGE.response, body, size)
      assert.deepEqual(message(packets.toString('hex'), 700), body)
    }
  })

  it('does not send a password as it is, and a token of Entra ID in its place', () => {
    const rest = { user: 'u', password: 'secret', echo: false, server: 's', database: 'd', packetSize: 4096 }
    const plain = login(rest)
    assert.equal(plain.readUInt32LE(0), plain.length)
    assert.equal(plain.indexOf(Buffer.from('secret', 'utf16le')), -1)
    const [at, length] = [plain.readUInt16LE(44), plain.readUInt16LE(46)]
    const hidden = plain.subarray(at, at + length * 2)
    const shown = hidden.map((byte) => ((byte ^ 0xa5) >> 4) | (((byte ^ 0xa5) & 0xf) << 4))
    assert.equal(Buffer.from(shown).toString('utf16le'), 'secret')
    const federated = login({ ...rest, token: 'a.b.c', echo: true })
    assert.equal(federated.readUInt32LE(0), federated.length)
    const feature = federated.readUInt32LE(federated.readUInt16LE(56))
    assert.deepEqual([...federated.subarray(feature, feature + 6)], [2, 15, 0, 0, 0, 3])
    assert.equal(federated.subarray(feature + 10, feature + 20).toString('utf16le'), 'a.b.c')
    assert.equal(federated.at(-1), 0xff)
    assert.equal(federated.readUInt16LE(46), 0, 'no password')
    assert.deepEqual(readPrelogin(prelogin(1, true)), { encryption: 1, echo: true })
  })
})

describe('the connection string of SQL Server', () => {
  it('reads both forms', () => {
    const none = { user: '', password: '', database: '', encrypt: 'optional', trust: true }
    assert.deepEqual(readConnectionString('Server=db'), { ...none, host: 'db', port: 1433 })
    assert.deepEqual(readConnectionString('server=tcp:db,1500;User Id=u;Password=p=;Initial Catalog=d;encrypt=true'), {
      host: 'db',
      port: 1500,
      user: 'u',
      password: 'p=',
      database: 'd',
      encrypt: 'required',
      trust: false,
    })
    assert.deepEqual(readConnectionString('sqlserver://u:p%40@db:80?database=d&TrustServerCertificate=true&encrypt=yes&dial+timeout=3'), {
      host: 'db',
      port: 80,
      user: 'u',
      password: 'p@',
      database: 'd',
      encrypt: 'required',
      trust: true,
      connectTimeout: 3000,
    })
    assert.equal(readConnectionString('server=.\\sqlexpress;port=1;password={a;b}};c}').password, 'a;b};c')
    assert.equal(readConnectionString('server=(local)').host, 'localhost')
    assert.deepEqual([readConnectionString('sqlserver://[::1]').host, readConnectionString('sqlserver://[::1]').port], ['::1', 1433])
  })

  it('says what cannot be right, without the password', () => {
    for (const [text, told] of [
      ['user id=u;password=hidden', /names no server/],
      ['server=db\\instance;password=hidden', /add port=/],
      ['server=db;encrypt=some;password=hidden', /encrypt=some/],
      ['server=db;trustservercertificate=x;password=hidden', /trustservercertificate=x/],
      ['server=db;certificate=/none;password=hidden', /cannot read \/none: ENOENT/],
      ['server=db;port=0;password=hidden', /port/],
    ] as const)
      assert.throws(
        () => readConnectionString(text),
        (error: Error) => told.test(error.message) && !error.message.includes('hidden'),
        text,
      )
  })
})
