/** A path as Go's URL.Path has it: what is escaped stands as it is meant; unreadable escapes stay. */
export function decodedPath(path: string): string {
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
