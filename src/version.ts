/** What the sidecar says it is; `edge` is what daprd's own development builds say, and what clients' version checks accept. */
export const VERSION = 'edge'
