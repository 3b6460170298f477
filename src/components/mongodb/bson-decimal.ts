const BIAS = 6176
const DIGITS = 34
const MASK_49 = (1n << 49n) - 1n

/** The text of a decimal128 (IEEE 754-2008, binary integer form), as BSON's specification writes it. */
export function decimalText(bytes: Buffer, at: number): string {
  const [low, high] = [bytes.readBigUInt64LE(at), bytes.readBigUInt64LE(at + 8)]
  const sign = high >> 63n ? '-' : ''
  const combination = Number((high >> 58n) & 0x1fn)
  if (combination === 0x1f) return 'NaN'
  if (combination === 0x1e) return `${sign}Infinity`
  const large = combination >> 3 === 3
  const exponent = Number((high >> (large ? 47n : 49n)) & 0x3fffn) - BIAS
  // What begins so would have more digits than there are, which means zero.
  let digits = large ? '0' : String(((high & MASK_49) << 64n) | low)
  if (digits.length > DIGITS) digits = '0'
  const adjusted = exponent + digits.length - 1
  if (exponent > 0 || adjusted < -6) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : ''
    return `${sign}${digits[0]}${fraction}E${adjusted < 0 ? '' : '+'}${adjusted}`
  }
  if (exponent === 0) return sign + digits
  const padded = digits.padStart(1 - exponent, '0')
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`
}
