import type { RunResult } from './certify-run.ts'
export function certificationPage(results: readonly RunResult[], commit: string): string {
  return `${commit} ${results.length}`
}
