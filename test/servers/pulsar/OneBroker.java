import org.apache.pulsar.PulsarStandaloneStarter;

/** OneBroker ARGUMENTS: Pulsar's own standalone server, broker and bookie in one process; says so when it is up. */
class OneBroker {
  public static void main(String[] args) throws Exception {
    new PulsarStandaloneStarter(args).start();
    System.out.println("Pulsar is up");
  }
}
