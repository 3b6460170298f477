import type { Place } from './place.ts'

/** Places of a position file of Fluentd's: path, offset and number of the file, the last two in hexadecimal, with tabs. What is no such line is passed over. */
export function fluentdPlaces(text: string): Place[] {
  const places: Place[] = []
  for (const line of text.split('\n')) {
    const found = /^([^\t]+)\t([0-9a-f]{16})\t([0-9a-f]{16})$/.exec(line)
    const offset = Number.parseInt(found?.[2] ?? '', 16)
    const ino = Number.parseInt(found?.[3] ?? '', 16)
    // Fluentd marks a file that it follows no more with an offset of all ones.
    if (found && Number.isSafeInteger(offset) && Number.isSafeInteger(ino) && ino > 0)
      places.push({ path: found[1] as string, dev: 0, ino, offset, head: 0, crc: 0, born: 0 })
  }
  return places
}
