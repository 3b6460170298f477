import io.dapr.client.DaprClientBuilder;
import io.grpc.netty.NettyServerBuilder;
import java.net.InetSocketAddress;

/** An app on the official Java SDK: the sidecar calls it over gRPC. */
public final class Main {
  public static void main(String[] arguments) throws Exception {
    Program program = new Program();
    int port = Integer.parseInt(System.getenv("APP_PORT"));
    NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port))
        .addService(new App(program))
        .addService(App.greeter())
        .build()
        .start();
    Program.serve(new Features(new DaprClientBuilder().build(), new DaprClientBuilder().buildPreviewClient(), program).all());
    System.exit(0);
  }
}
