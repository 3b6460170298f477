import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.StringValue;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprPreviewClient;
import io.dapr.client.SubscriptionListener;
import io.dapr.client.domain.BulkPublishEntry;
import io.dapr.client.domain.BulkPublishRequest;
import io.dapr.client.domain.CloudEvent;
import io.dapr.client.domain.ConversationInput;
import io.dapr.client.domain.ConversationInputAlpha2;
import io.dapr.client.domain.ConversationMessageContent;
import io.dapr.client.domain.ConversationOutput;
import io.dapr.client.domain.ConversationRequest;
import io.dapr.client.domain.ConversationRequestAlpha2;
import io.dapr.client.domain.DecryptRequestAlpha1;
import io.dapr.client.domain.EncryptRequestAlpha1;
import io.dapr.client.domain.HttpExtension;
import io.dapr.client.domain.PublishEventRequest;
import io.dapr.client.domain.QueryStateItem;
import io.dapr.client.domain.State;
import io.dapr.client.domain.TransactionalStateOperation;
import io.dapr.client.domain.TransactionalStateOperation.OperationType;
import io.dapr.client.domain.UserMessage;
import io.dapr.utils.TypeRef;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.stub.AbstractBlockingStub;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The client of the SDK. It speaks gRPC, and HTTP for invocation. */
final class Features {
  private static final String APP = System.getenv("APP_ID");
  private static final String PEER = System.getenv("PEER_ID");
  private static final String JSON = "application/json";
  private static final String TEXT = "text/plain";

  private final DaprClient dapr;
  private final DaprPreviewClient preview;
  private final Program program;

  Features(DaprClient dapr, DaprPreviewClient preview, Program program) {
    this.dapr = dapr;
    this.preview = preview;
    this.program = program;
  }

  Map<String, Callable<?>> all() {
    Map<String, Callable<?>> all = new LinkedHashMap<>();
    all.put("wait for the sidecar", () -> dapr.waitForSidecar(5000).thenReturn(true).block());
    all.put("state: save and get", this::saveAndGet);
    all.put("state: bulk save", this::bulkSave);
    all.put("state: bulk get", this::bulkGet);
    all.put("state: delete", () -> {
      dapr.deleteState("statestore", "text").block();
      return Arrays.asList(get("text"));
    });
    all.put("state: transaction", this::transaction);
    all.put("state: a stale etag is refused", this::etag);
    all.put("state: query", this::query);
    all.put("pub/sub: an object and a text", () -> {
      publish("plain", Map.of("id", 1));
      program.until("plain", 1);
      publish("plain", "hello", TEXT);
      return program.until("plain", 2);
    });
    all.put("pub/sub: declared by a resource", () -> publishAndHear("declared", Map.of("id", 2), "declared"));
    all.put("pub/sub: raw", () -> {
      dapr.publishEvent("pubsub", "raw", Map.of("id", 3), Map.of("rawPayload", "true")).block();
      return program.until("raw", 1);
    });
    all.put("pub/sub: routes", this::routes);
    all.put("pub/sub: dead letter", () -> publishAndHear("poison", Map.of("id", 4), "dead"));
    all.put("pub/sub: retried until it succeeds", () -> {
      publish("retried", "again", TEXT);
      return program.until("retried", 3);
    });
    all.put("pub/sub: bulk publish", () -> publishBulk("many"));
    all.put("pub/sub: bulk subscribe", () -> publishBulk("bulk"));
    all.put("pub/sub: streaming subscription", this::stream);
    all.put("pub/sub: streaming subscription with a handler", this::streamWithHandler);
    all.put("pub/sub: an unknown component is an error",
        () -> failure("pubsub nosuch is not found", dapr.publishEvent("nosuch", "topic", "x")));
    all.put("invocation: GET and POST", () -> hello(APP));
    all.put("invocation: through two sidecars", () -> hello(PEER));
    all.put("invocation: gRPC proxying", () -> greet(APP));
    all.put("invocation: gRPC proxying through two sidecars", () -> greet(PEER));
    all.put("invocation: an unknown app is an error",
        () -> failure("to invoke, id: nosuch", dapr.invokeMethod("nosuch", "hello", HttpExtension.GET, Map.of())));
    all.put("secrets: one and all",
        () -> List.of(dapr.getSecret("secretstore", "password").block(), dapr.getBulkSecret("secretstore").block()));
    all.put("configuration: get", () -> Map.of("size", dapr.getConfiguration("configstore", "size").block().getValue()));
    all.put("configuration: subscribe", this::subscribeConfiguration);
    all.put("lock: one owner at a time", () -> List.of(lock("ann"), lock("bob"), unlock("bob"), unlock("ann"), unlock("ann")));
    all.put("crypto: encrypt and decrypt", this::crypto);
    all.put("bindings: out", this::binding);
    all.put("bindings: in", () -> !program.until("tick", 1).isEmpty());
    all.put("conversation: echo", this::converse);
    all.put("conversation: echo over Alpha1", () -> preview.converse(new ConversationRequest("echo", List.of(new ConversationInput("hello"))))
        .block().getConversationOutputs().stream().map(ConversationOutput::getResult).toList());
    all.put("metadata: get", () -> dapr.getMetadata().block().getComponents().stream()
        .filter(component -> component.getName().equals("statestore")).map(component -> component.getType()).toList());
    all.put("shutdown", () -> dapr.shutdown().block());
    return all;
  }

  private static Object failure(String part, Mono<?> work) {
    try {
      work.block();
      return "no error";
    } catch (RuntimeException error) {
      return error.toString().contains(part) ? part : error.toString();
    }
  }

  private String get(String key) {
    return dapr.getState("statestore", key, String.class).block().getValue();
  }

  private Object saveAndGet() {
    dapr.saveState("statestore", "object", Map.of("a", List.of(1, "ö"))).block();
    dapr.saveState("statestore", "text", "plain").block();
    JsonNode object = dapr.getState("statestore", "object", TypeRef.get(JsonNode.class)).block().getValue();
    return Arrays.asList(object, get("text"), get("missing"));
  }

  private Object bulkSave() {
    dapr.saveBulkState("statestore", List.of(new State<>("bulk1", "one", ""), new State<>("bulk2", "two", ""))).block();
    return Arrays.asList(get("bulk1"), get("bulk2"));
  }

  private Object bulkGet() {
    return dapr.getBulkState("statestore", List.of("object", "missing"), TypeRef.get(JsonNode.class)).block().stream()
        .sorted(Comparator.comparing(State::getKey)).map(item -> Arrays.asList(item.getKey(), item.getValue())).toList();
  }

  private Object transaction() {
    dapr.executeStateTransaction("statestore", List.of(
        new TransactionalStateOperation<>(OperationType.UPSERT, new State<>("first", "one", "")),
        new TransactionalStateOperation<>(OperationType.UPSERT, new State<>("second", "two", "")),
        new TransactionalStateOperation<>(OperationType.DELETE, new State<>("object")))).block();
    return Arrays.asList(get("first"), get("second"), get("object"));
  }

  private Object etag() {
    dapr.saveState("statestore", "tagged", "one").block();
    String etag = dapr.getState("statestore", "tagged", String.class).block().getEtag();
    dapr.saveState("statestore", "tagged", etag, "two", null).block();
    Object said = failure("ABORTED", dapr.saveState("statestore", "tagged", etag, "three", null));
    return List.of(said.equals("ABORTED") ? "refused" : said, get("tagged"));
  }

  private Object query() {
    Map<String, String> typed = Map.of("contentType", JSON);
    dapr.saveState("querystore", "ann", null, Map.of("city", "Rome", "age", 3), typed, null).block();
    dapr.saveState("querystore", "bob", null, Map.of("city", "Oslo", "age", 2), typed, null).block();
    dapr.saveState("querystore", "cem", null, Map.of("city", "Rome", "age", 1), typed, null).block();
    String query = "{\"filter\":{\"EQ\":{\"city\":\"Rome\"}},\"sort\":[{\"key\":\"age\",\"order\":\"ASC\"}],\"page\":{\"limit\":10}}";
    return preview.queryState("querystore", query, JsonNode.class).block().getResults().stream().map(QueryStateItem::getKey).toList();
  }

  private void publish(String topic, Object data) {
    dapr.publishEvent("pubsub", topic, data).block();
  }

  /** Bytes go as they are, whereas the SDK would write a String as JSON. */
  private void publish(String topic, String data, String contentType) {
    byte[] bytes = data.getBytes(StandardCharsets.UTF_8);
    dapr.publishEvent(new PublishEventRequest("pubsub", topic, bytes).setContentType(contentType)).block();
  }

  private Object publishAndHear(String topic, Object data, String heard) throws InterruptedException {
    publish(topic, data);
    return program.until(heard, 1);
  }

  private Object routes() throws InterruptedException {
    for (String[] event : new String[][] {{"a", "important"}, {"b", "usual"}}) {
      publish("routed", ("{'specversion':'1.0','id':'" + event[0] + "','source':'test','type':'" + event[1]
          + "','datacontenttype':'application/json','data':{'id':'" + event[0] + "'}}").replace('\'', '"'), CloudEvent.CONTENT_TYPE);
    }
    return Program.ordered(program.until("routed", 2));
  }

  private Object publishBulk(String topic) throws InterruptedException {
    List<BulkPublishEntry<Object>> entries = List.of(
        new BulkPublishEntry<>("1", "one", TEXT),
        new BulkPublishEntry<>("2", "two", TEXT),
        new BulkPublishEntry<>("3", Map.of("id", 3), JSON));
    int failed = dapr.publishEvents(new BulkPublishRequest<>("pubsub", topic, entries)).block().getFailedEntries().size();
    return failed > 0 ? failed : Program.ordered(program.until(topic, 3));
  }

  private Object stream() throws InterruptedException {
    var subscription = preview.subscribeToTopic("pubsub", "streamed", TypeRef.BYTE_ARRAY)
        .subscribe(data -> program.note("streamed", Program.parsed(data)));
    publish("streamed", Map.of("id", 5));
    program.until("streamed", 1);
    publish("streamed", "second", TEXT);
    List<Object> heard = program.until("streamed", 2);
    subscription.dispose();
    return heard;
  }

  private Object streamWithHandler() throws InterruptedException {
    SubscriptionListener<byte[]> listener = new SubscriptionListener<>() {
      @Override
      public Mono<Status> onEvent(CloudEvent<byte[]> event) {
        program.note("handled", Program.parsed(event.getData()));
        return Mono.just(Status.SUCCESS);
      }

      @Override
      public void onError(RuntimeException error) {
        error.printStackTrace();
      }
    };
    // Left open: close() of this SDK can lose the answer to the last event and leave the stream as it is.
    preview.subscribeToEvents("pubsub", "handled", listener, TypeRef.BYTE_ARRAY);
    return publishAndHear("handled", Map.of("id", 6), "handled");
  }

  private Object subscribeConfiguration() {
    var changed = dapr.subscribeConfiguration("configstore", "color").filter(change -> change.getItems().containsKey("color")).blockFirst();
    dapr.unsubscribeConfiguration(changed.getSubscriptionId(), "configstore").block();
    return Map.of("color", changed.getItems().get("color").getValue());
  }

  private Object lock(String owner) {
    return preview.tryLock("lockstore", "printer", owner, 60).block();
  }

  private Object unlock(String owner) {
    return switch (preview.unlock("lockstore", "printer", owner).block()) {
      case SUCCESS -> "success";
      case LOCK_UNEXIST -> "does not exist";
      case LOCK_BELONG_TO_OTHERS -> "belongs to others";
      default -> "internal error";
    };
  }

  private static byte[] joined(Flux<byte[]> parts) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    parts.doOnNext(all::writeBytes).blockLast();
    return all.toByteArray();
  }

  private Object crypto() {
    byte[] plain = "secret ".repeat(50_000).getBytes(StandardCharsets.UTF_8);
    byte[] sealed = joined(preview.encrypt(new EncryptRequestAlpha1("vault", Flux.just(plain), "rsa.pem", "RSA")));
    byte[] opened = joined(preview.decrypt(new DecryptRequestAlpha1("vault", Flux.just(sealed)).setKeyName("rsa.pem")));
    boolean marked = new String(sealed, 0, 14, StandardCharsets.UTF_8).equals("dapr.io/enc/v1");
    return List.of(marked ? "sealed" : "not sealed", Arrays.equals(opened, plain) ? "opened" : "not opened");
  }

  private Object binding() {
    Map<String, String> file = Map.of("fileName", "note.txt");
    dapr.invokeBinding("files", "create", "to be kept".getBytes(StandardCharsets.UTF_8), file).block();
    return new String(dapr.invokeBinding("files", "get", new byte[0], file).block(), StandardCharsets.UTF_8);
  }

  private Object converse() {
    UserMessage message = new UserMessage(List.of(new ConversationMessageContent("hello")));
    var request = new ConversationRequestAlpha2("echo", List.of(new ConversationInputAlpha2(List.of(message))));
    return preview.converseAlpha2(request).block().getOutputs().stream()
        .flatMap(output -> output.getChoices().stream()).map(choice -> choice.getMessage().getContent()).toList();
  }

  /** A stub as the protobuf compiler would make it. */
  private List<Object> hello(String app) {
    return List.of(
        Program.parsed(dapr.invokeMethod(app, "hello", HttpExtension.GET, Map.of(), byte[].class).block()),
        Program.parsed(dapr.invokeMethod(app, "hello", Map.of("name", "ann"), HttpExtension.POST, byte[].class).block()));
  }

  private List<String> greet(String app) {
    return List.of(dapr.newGrpcStub(app, channel -> new Greeter(channel, CallOptions.DEFAULT)).greet("ann"));
  }

  private static final class Greeter extends AbstractBlockingStub<Greeter> {
    Greeter(Channel channel, CallOptions options) {
      super(channel, options);
    }

    @Override
    protected Greeter build(Channel channel, CallOptions options) {
      return new Greeter(channel, options);
    }

    String greet(String name) {
      return ClientCalls.blockingUnaryCall(getChannel(), App.GREET, getCallOptions(), StringValue.of(name)).getValue();
    }
  }
}
