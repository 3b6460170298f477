import { installKafka } from './kafka.ts'

// node test/servers/install.ts: brings the servers that no package manager of the machine has.
installKafka()
