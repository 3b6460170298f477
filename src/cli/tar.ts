/** One file of an archive. */
export interface TarEntry {
  /** At most 100 bytes. */
  name: string
  data: Buffer
}

/** A tar archive (POSIX ustar) of small files. */
export function tar(entries: readonly TarEntry[], time: Date): Buffer {
  const parts = entries.flatMap(({ name, data }) => [header(name, data.length, time), data, Buffer.alloc(-data.length & 511)])
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

function header(name: string, size: number, time: Date): Buffer {
  if (Buffer.byteLength(name) > 100) throw new Error(`the name ${name} is too long for an archive`)
  const block = Buffer.alloc(512)
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`
  block.write(name, 0)
  block.write(octal(0o644, 8), 100)
  block.write(octal(0, 8), 108)
  block.write(octal(0, 8), 116)
  block.write(octal(size, 12), 124)
  block.write(octal(Math.floor(time.getTime() / 1000), 12), 136)
  block.write(' '.repeat(8), 148)
  block.write('0', 156)
  block.write('ustar\u000000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}
