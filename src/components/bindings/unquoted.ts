/** What a request's data say: a JSON text is its content, anything else is what it is. */
export function unquoted(data: Buffer): Buffer {
  if (data[0] !== 0x22) return data
  try {
    const text: unknown = JSON.parse(data.toString())
    return typeof text === 'string' ? Buffer.from(text) : data
  } catch {
    return data
  }
}
