/** What the sources look like: how many files, and when the last one changed (epoch milliseconds). */
export interface SourceStamp {
  files: number
  changed: number
}
export function stampOf(root: string): SourceStamp
/** Whether dist/ under the package's folder was built from the sources as they are. */
export function isBuilt(root: string): boolean
/** The stamp's path in dist/. */
export const stampName: string
