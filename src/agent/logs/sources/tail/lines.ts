import type { Buffer } from 'node:buffer'

/** One line of a block: its text without line end, and where it stands. */
export type OnLine = (text: string, start: number, end: number, partial: boolean) => void

/**
 * Gives the whole lines of a block, and cuts one that is longer than `maxLine`, between characters.
 * @returns bytes that are used up; what is behind them is read again.
 */
export function splitLines(block: Buffer, maxLine: number, onLine: OnLine): number {
  let at = 0
  while (at < block.length) {
    const newline = block.indexOf(10, at)
    const end = newline < 0 ? block.length : newline
    if (end - at > maxLine) {
      const cut = boundary(block, at + maxLine, at)
      onLine(block.toString('utf8', at, cut), at, cut, true)
      at = cut
      continue
    }
    if (newline < 0) break
    onLine(block.toString('utf8', at, block[end - 1] === 13 && end > at ? end - 1 : end), at, newline + 1, false)
    at = newline + 1
  }
  return at
}

/** The last place up to `at` where no UTF-8 character is cut; `at` itself when this is no UTF-8. */
function boundary(block: Buffer, at: number, least: number): number {
  for (let back = 0; back < 4 && at - back > least; back++) if (((block[at - back] as number) & 0xc0) !== 0x80) return at - back
  return at
}
