import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.Missing;
import de.bwaldvogel.mongo.backend.aggregation.Expression;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;

/** Serves MongoDB's protocol from memory on the port given. What clients of today need beyond mongo-java-server stands here. */
public class Serve {
  public static void main(String[] arguments) {
    var server = new MongoServer(new Backend().version(new Version(List.of(5, 0, 0), 13)));
    server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    System.out.println("listening on " + server.getLocalAddress());
  }

  /** The official clients refuse a server that says it is older. */
  record Version(List<Integer> getVersionArray, int getWireVersion) implements MongoVersion {}

  /** Updates by a pipeline, as MongoDB has them since 4.2: stages of values that do not depend on what is stored. */
  static class Backend extends MemoryBackend {
    @Override
    public Document handleMessage(MongoMessage message) {
      if (message.getDocument().get("updates") instanceof Iterable<?> updates)
        for (Object update : updates)
          if (((Document) update).get("u") instanceof List<?> pipeline) ((Document) update).put("u", new Document("$set", values(pipeline)));
      return super.handleMessage(message);
    }

    private static Document values(List<?> pipeline) {
      var values = new Document();
      for (Object stage : pipeline)
        for (Object fields : ((Document) stage).values())
          for (var field : ((Document) fields).entrySet()) {
            // Its own $literal looks for expressions inside.
            Object value =
                field.getValue() instanceof Document expression && expression.containsKey("$literal")
                    ? expression.get("$literal")
                    : Expression.evaluateDocument(field.getValue(), new Document());
            if (!(value instanceof Missing)) values.put(field.getKey(), value);
          }
      return values;
    }
  }
}
