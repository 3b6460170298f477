// In V8 since Node 22; TypeScript's library does not know them yet.
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
type Reviver = (key: string, value: unknown, context: { source: string }) => unknown

/** JSON whose integers beyond 2^53 are bigint. */
export function parseExact(text: string): unknown {
  const revive: Reviver = (_, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value
  return JSON.parse(text, revive as Parameters<typeof JSON.parse>[1])
}

/** The same as text again. */
export function exactJson(value: unknown): string {
  return JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? rawJSON(String(one)) : one))
}
