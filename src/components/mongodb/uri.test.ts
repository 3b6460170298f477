import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MongoClient } from 'mongodb'
import { parseUri } from './uri.ts'
import { OPTIONS, REFUSED } from './uri-options.ts'

describe('connection strings of MongoDB', () => {
  it('mean what they mean to the official client', () => {
    for (const text of [
      'mongodb://localhost',
      'mongodb://a:1,b,[::1]:3/db?replicaSet=rs',
      'mongodb://user:p%40ss%2F@h/?authSource=other',
      'mongodb://user:pw@h/db?authMechanism=SCRAM-SHA-1&tls=true',
      'mongodb://u%3A:@h/?ssl=true&tlsAllowInvalidHostnames=true&maxPoolSize=5&retryWrites=false',
      'mongodb://h/?READPREFERENCE=secondaryPreferred&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=&directConnection=true',
      'mongodb://h/?w=majority&wTimeoutMS=100&journal=false&readConcernLevel=majority',
      'mongodb://cn%3Dx@h/?authMechanism=MONGODB-X509&tls=true&authSource=$external',
      'mongodb://h/?serverSelectionTimeoutMS=9&heartbeatFrequencyMS=700&localThresholdMS=3&appName=me&minPoolSize=2&maxIdleTimeMS=4&maxConnecting=3',
    ]) {
      const { places, login, options } = parseUri(text)
      const theirs = new MongoClient(text).options
      assert.deepEqual(
        places,
        theirs.hosts.map(({ host, port }) => ({ host: host ?? '', port: port ?? 0 })),
        text,
      )
      assert.equal(login?.username, theirs.credentials?.username || undefined, text)
      if (login) assert.equal(login.source, theirs.credentials?.source, text)
      if (login && login.mechanism !== 'MONGODB-X509') assert.equal(login.password, theirs.credentials?.password, text)
      assert.equal(options.tls ?? false, theirs.tls ?? false, text)
      assert.equal(options.replicaSet, theirs.replicaSet || undefined, text)
      assert.equal(options.directConnection ?? false, theirs.directConnection ?? false, text)
      assert.equal(options.maxPoolSize ?? 100, theirs.maxPoolSize, text)
      assert.equal(options.retryWrites ?? true, theirs.retryWrites, text)
      assert.equal(options.readPreference ?? 'primary', theirs.readPreference.mode, text)
      assert.deepEqual(
        options.readPreferenceTags ?? [],
        (theirs.readPreference.tags ?? []).map((tags) => ({ ...tags })),
        text,
      )
      assert.equal(options.w, theirs.writeConcern?.w, text)
      assert.equal(options.journal, theirs.writeConcern?.journal, text)
      assert.equal(options.readConcernLevel, theirs.readConcern?.level, text)
    }
  })

  it('are refused by the name of what is not honoured, which is never silently lost', () => {
    for (const name of Object.keys(REFUSED))
      assert.throws(() => parseUri(`mongodb://h/?${name}=1`), new RegExp(`option ${name} is not supported: \\w+`))
    // Whatever the official client knows is honoured or refused with a word on what to do.
    const known =
      'connectTimeoutMS socketTimeoutMS compressors zlibCompressionLevel maxPoolSize minPoolSize maxConnecting maxIdleTimeMS waitQueueTimeoutMS w wTimeoutMS journal readConcernLevel readPreference maxStalenessSeconds readPreferenceTags authSource authMechanism authMechanismProperties localThresholdMS serverSelectionTimeoutMS serverMonitoringMode heartbeatFrequencyMS appName retryReads retryWrites loadBalanced directConnection replicaSet timeoutMS srvMaxHosts srvServiceName tls ssl tlsCAFile tlsCertificateKeyFile tlsCertificateKeyFilePassword tlsInsecure tlsAllowInvalidCertificates tlsAllowInvalidHostnames proxyHost proxyPort proxyUsername proxyPassword uuidRepresentation'
    for (const name of known.split(' ')) assert.ok(name.toLowerCase() in OPTIONS || name.toLowerCase() in REFUSED, name)
    assert.throws(() => parseUri('mongodb://h/?nosuch=1'), /option nosuch is not supported: remove it, or correct its name/)
    assert.throws(() => parseUri('mongodb://h/?constructor=1'), /option constructor is not supported/)
  })

  it('are refused where they cannot be meant so, without a word of the login', () => {
    for (const [text, reason] of [
      ['http://h', /not mongodb:/],
      ['mongodb://u:hidden@x@h/', /%40/],
      ['mongodb://u:hid%den@h/', /the password has a %/],
      ['mongodb://u:hidden@h:99999/', /"h:99999" is not host/],
      ['mongodb://u:hidden@h/?tls=yes', /option tls: "yes" is neither/],
      ['mongodb://u:hidden@h/?tls=true&ssl=false', /option ssl: it is given twice/],
      ['mongodb://u:hidden@h/?maxPoolSize=-1', /option maxPoolSize: "-1" is not a whole number/],
      ['mongodb://u:hidden@h/?heartbeatFrequencyMS=100', /500 or more/],
      ['mongodb://u:hidden@h/?authMechanism=GSSAPI', /option authMechanism.*SCRAM-SHA-256/],
      ['mongodb://h/?authMechanism=PLAIN', /PLAIN needs a user/],
      ['mongodb://u:hidden@a,b/?directConnection=true', /directConnection is for one server/],
      ['mongodb+srv://u:hidden@a.b.c,d.e.f/', /takes one name/],
      ['mongodb+srv://u:hidden@a.b.c:1/', /without a port/],
      ['mongodb://u:hidden@h/?readPreference=some', /"some" is none of primary/],
      ['mongodb://u:hidden@h/?replicaSet=', /option replicaSet: it is empty/],
    ] as const)
      assert.throws(
        () => parseUri(text),
        (error: Error) => reason.test(error.message) && !/hid/.test(error.message),
        text,
      )
  })
})
