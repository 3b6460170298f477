import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/** What the test and its programs have between them: features asked for by name, and events that handlers note. */
final class Program {
  static final ObjectMapper JSON = new ObjectMapper();

  private final Map<String, List<Object>> heard = new HashMap<>();

  static void reply(Map<String, Object> message) {
    try {
      byte[] line = ("@@" + JSON.writeValueAsString(message) + "\n").getBytes(StandardCharsets.UTF_8);
      synchronized (System.out) {
        System.out.write(line);
        System.out.flush();
      }
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  /** Runs the features that the test asks for until the test is over; one that never ends holds up no other. */
  static void serve(Map<String, Callable<?>> features) throws IOException {
    reply(Map.of("feature", "ready"));
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String feature = line;
      Thread thread = new Thread(() -> run(feature, features.get(feature)));
      thread.setDaemon(true);
      thread.start();
    }
  }

  private static void run(String feature, Callable<?> work) {
    Map<String, Object> answer = new HashMap<>(Map.of("feature", feature));
    try {
      answer.put("result", work.call());
    } catch (Exception error) {
      answer.put("error", error.toString());
    }
    reply(answer);
  }

  /** The value of an event: JSON as what it says, anything else as text. */
  static JsonNode parsed(byte[] data, String contentType) {
    if (contentType.contains("json")) {
      return parsed(data);
    }
    return TextNode.valueOf(new String(data, StandardCharsets.UTF_8));
  }

  static JsonNode parsed(byte[] data) {
    try {
      return JSON.readTree(data);
    } catch (IOException error) {
      return TextNode.valueOf(new String(data, StandardCharsets.UTF_8));
    }
  }

  /** Values in the order of their JSON, for events that may come in any order. */
  static List<Object> ordered(List<Object> values) {
    values.sort(Comparator.comparing(value -> {
      try {
        return JSON.writeValueAsString(value);
      } catch (JsonProcessingException error) {
        throw new IllegalStateException(error);
      }
    }));
    return values;
  }

  /** Gives how many there are of that name, this one included. */
  synchronized int note(String name, Object value) {
    List<Object> values = heard.computeIfAbsent(name, key -> new ArrayList<>());
    values.add(value);
    notifyAll();
    return values.size();
  }

  /** Everything that came under a name once there are {@code count} of it. */
  synchronized List<Object> until(String name, int count) throws InterruptedException {
    while (heard.getOrDefault(name, Collections.emptyList()).size() < count) {
      wait();
    }
    return new ArrayList<>(heard.get(name));
  }
}
