/** An annotation by its name without prefix: ours counts more than Dapr's. */
export function annotationOf(annotations: Readonly<Record<string, string>> | null | undefined, name: string): string | undefined {
  return annotations?.[`outrider.dev/${name}`] ?? annotations?.[`dapr.io/${name}`]
}
