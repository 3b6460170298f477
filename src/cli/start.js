// Plain JavaScript, so that nothing needs the type stripper before the compile cache is on: with a warm cache it never
// loads, which is a good part of the start and of the memory.
import { enableCompileCache } from 'node:module'

enableCompileCache()
await import(`./${process.argv[2]}.ts`)
