import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scrub } from './scrub.ts'

/** What daprd 1.18.3 made of these texts, recorded from its conversation.echo. */
const RECORDED: readonly (readonly [text: string, scrubbed: string])[] = [
  ['well hello there', 'well hello there'],
  ['well hello there, my phone number is +2222222222', 'well hello there, my phone number is <PHONE_NUMBER>'],
  ['well hello there, my email is test@test.com', 'well hello there, my email is <EMAIL_ADDRESS>'],
  ['well hello there from 10.8.9.1', 'well hello there from <IP>'],
  ['call 2125551234 now', 'call <ISBN> now'],
  ['call (212) 555-1234 now', 'call <PHONE_NUMBER> now'],
  ['call +1 212-555-1234 ext 55 now', 'call <PHONE_NUMBER> now'],
  ['call 212-555-1234 x55', 'call <PHONE_NUMBER>'],
  ['in the year 2024 ok', 'in the year <PHONE_NUMBER> ok'],
  ['zip 12345 and 12345-6789.', 'zip <ZIP_CODE> and <ZIP_CODE>.'],
  ['ssn 123-45-6789.', 'ssn <US_SSN>.'],
  ['card 4111 1111 1111 1111!', 'card <CREDIT_CARD>!'],
  ['card 4111111111111111', 'card <CREDIT_CARD>'],
  ['card 4111-1111-1111-1111', 'card <CREDIT_CARD>'],
  ['amex 378282246310005', 'amex <PHONE_NUMBER>'],
  ['mail a.b+c@ex-ample.co.uk, ok', 'mail <EMAIL_ADDRESS>, ok'],
  ['mail A@B.', 'mail A@B.'],
  ['a@b.com,c@d.org', '<EMAIL_ADDRESS>,<EMAIL_ADDRESS>'],
  ['ip 10.8.9.1.', 'ip <IP>.'],
  ['ip 999.1.1.1', 'ip 9<IP>'],
  ['10.0.0.1:8080', '<IP>:<PHONE_NUMBER>'],
  ['v6 ::1', 'v6 <IP>'],
  ['I live at 12 Main Street, Springfield', 'I live at <STREET_ADDRESS> Springfield'],
  ['I live at 1234 Old Mill Rd', 'I live at <STREET_ADDRESS>'],
  ['é 12 Main st é 1234', 'é <STREET_ADDRESS>é <PHONE_NUMBER>'],
  ['po P.O. Box 55 there', 'po <PO_BOX> there'],
  ['PO Box 12345', '<PO_BOX>'],
  ['isbn 978-3-16-148410-0', 'isbn <ISBN>'],
  ['isbn 080442957X', 'isbn <ISBN>'],
  ['mac 00:1B:44:11:3A:B7 ok', 'mac <MAC_ADDRESS> ok'],
  ['iban DE89370400440532013000 ok', 'iban <IBAN> ok'],
  ['iban GB29NWBK60161331926819', 'iban <IBAN>'],
  ['see https://example.com/12345/67890 ok', 'see https://example.com/12345/67890 ok'],
  ['see https://user@example.com/a.b?x=1234567890 12345', 'see https:<EMAIL_ADDRESS>/a.b?x=<ISBN> <ZIP_CODE>'],
  ['https://example.com. 12345', 'https://example.com. <ZIP_CODE>'],
  ['git git@github.com:a/12345.git ok', 'git git@github.com:a/12345.git ok'],
  ['git https://github.com/u12345/r.git', 'git https://github.com/u12345/r.git'],
  ['12345678901234567', '<CREDIT_CARD>7'],
  ['price 1000 and 99 and 123', 'price <PHONE_NUMBER> and 99 and 123'],
  ['a 12 34 56 78 b', 'a <PHONE_NUMBER> b'],
  ['x12 x1234 v1.18.3', 'x12 x<PHONE_NUMBER> v1.18.3'],
  ['date 2024-05-06 07:08:09', 'date <PHONE_NUMBER> 07:08:09'],
  ['born 06/05/1999', 'born 06/05/<PHONE_NUMBER>'],
  ['order #12345678', 'order #<PHONE_NUMBER>'],
]

for (const [text, scrubbed] of RECORDED) {
  test(`${text}: as daprd does`, () => {
    assert.equal(scrub(text), scrubbed)
  })
}

/** Where daprd damages the text around an address or lets data through, and we do not. */
for (const [text, scrubbed] of [
  ['v6 fe80::1 ok', 'v6 <IP> ok'],
  ['v6 fe80::1%eth0 is here', 'v6 <IP> is here'],
  ['at 2001:0db8:85a3:0000:0000:8a2e:0370:7334.', 'at <IP>.'],
  ['std::vector<int> x', 'std::vector<int> x'],
  ['(https://example.com/a_(b)_1234) 5678', '(https://example.com/a_(b)_1234) <PHONE_NUMBER>'],
  ['call 212-555-1234 extension 55 now', 'call <PHONE_NUMBER> now'],
] as const) {
  test(`${text}: better than daprd`, () => {
    assert.equal(scrub(text), scrubbed)
  })
}

for (const unit of [
  'a',
  'a.',
  '@',
  'a@',
  'a@b-',
  ':',
  '::a',
  'git:',
  'git@',
  'http://',
  'https://a.',
  '(',
  '1',
  '1-',
  '(212) ',
  '+1 ',
  ' ',
]) {
  test(`a long text of ${JSON.stringify(unit)} costs CPU in proportion`, () => {
    /** CPU, which other processes do not add to, and the least of three, which a garbage collection does not either. */
    const cost = (length: number) => {
      const text = unit.repeat(length / unit.length)
      const runs = Array.from({ length: 3 }, () => {
        const before = process.cpuUsage()
        scrub(text)
        const { user, system } = process.cpuUsage(before)
        return user + system
      })
      return Math.min(...runs)
    }
    // Ten times the text: a hundred times the cost would be a square.
    assert.ok(cost(200_000) < 40 * Math.max(cost(20_000), 1000))
  })
}
