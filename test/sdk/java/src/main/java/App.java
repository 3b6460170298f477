import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Empty;
import com.google.protobuf.StringValue;
import io.dapr.v1.AppCallbackGrpc;
import io.dapr.v1.CommonProtos.HTTPExtension.Verb;
import io.dapr.v1.CommonProtos.InvokeRequest;
import io.dapr.v1.CommonProtos.InvokeResponse;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.BulkSubscribeConfig;
import io.dapr.v1.DaprAppCallbackProtos.ListInputBindingsResponse;
import io.dapr.v1.DaprAppCallbackProtos.ListTopicSubscriptionsResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkRequest;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkRequestEntry;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkResponseEntry;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventResponse.TopicEventResponseStatus;
import io.dapr.v1.DaprAppCallbackProtos.TopicRoutes;
import io.dapr.v1.DaprAppCallbackProtos.TopicRule;
import io.dapr.v1.DaprAppCallbackProtos.TopicSubscription;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.util.List;

/** What the sidecar calls, on the stubs that the SDK brings. */
final class App extends AppCallbackGrpc.AppCallbackImplBase {
  /** A gRPC method of the app's own, for calls that the sidecar passes through. */
  static final MethodDescriptor<StringValue, StringValue> GREET =
      MethodDescriptor.<StringValue, StringValue>newBuilder()
          .setType(MethodDescriptor.MethodType.UNARY)
          .setFullMethodName("test.Greeter/Greet")
          .setRequestMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
          .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
          .build();

  private static final String APP = System.getenv("APP_ID");

  private final Program program;

  App(Program program) {
    this.program = program;
  }

  static ServerServiceDefinition greeter() {
    return ServerServiceDefinition.builder("test.Greeter")
        .addMethod(GREET, ServerCalls.asyncUnaryCall((name, observer) -> answer(observer, StringValue.of("hello " + name.getValue() + " from " + APP))))
        .build();
  }

  @Override
  public void listTopicSubscriptions(Empty request, StreamObserver<ListTopicSubscriptionsResponse> observer) {
    TopicRule important = TopicRule.newBuilder().setMatch("event.type == \"important\"").setPath("important").build();
    BulkSubscribeConfig bulk =
        BulkSubscribeConfig.newBuilder().setEnabled(true).setMaxMessagesCount(10).setMaxAwaitDurationMs(100).build();
    answer(observer, ListTopicSubscriptionsResponse.newBuilder()
        .addAllSubscriptions(List.of("plain", "many", "dead", "retried").stream().map(topic -> topic(topic).build()).toList())
        .addSubscriptions(topic("raw").putMetadata("rawPayload", "true"))
        .addSubscriptions(topic("routed").setRoutes(TopicRoutes.newBuilder().addRules(important).setDefault("other")))
        .addSubscriptions(topic("poison").setDeadLetterTopic("dead"))
        .addSubscriptions(topic("bulk").setBulkSubscribe(bulk))
        .build());
  }

  private static TopicSubscription.Builder topic(String name) {
    return TopicSubscription.newBuilder().setPubsubName("pubsub").setTopic(name);
  }

  @Override
  public void onTopicEvent(TopicEventRequest event, StreamObserver<TopicEventResponse> observer) {
    answer(observer, TopicEventResponse.newBuilder().setStatus(handle(event)).build());
  }

  private TopicEventResponseStatus handle(TopicEventRequest event) {
    String contentType = event.getTopic().equals("raw") ? "application/json" : event.getDataContentType();
    Object data = Program.parsed(event.getData().toByteArray(), contentType);
    if (event.getTopic().equals("poison")) {
      return TopicEventResponseStatus.DROP;
    }
    Object noted = event.getTopic().equals("routed") ? List.of(event.getPath(), data) : data;
    int count = program.note(event.getTopic(), noted);
    boolean again = event.getTopic().equals("retried") && count < 3;
    return again ? TopicEventResponseStatus.RETRY : TopicEventResponseStatus.SUCCESS;
  }

  @Override
  public void onBulkTopicEvent(TopicEventBulkRequest bundle, StreamObserver<TopicEventBulkResponse> observer) {
    TopicEventBulkResponse.Builder statuses = TopicEventBulkResponse.newBuilder();
    for (TopicEventBulkRequestEntry entry : bundle.getEntriesList()) {
      var event = entry.getCloudEvent();
      program.note(bundle.getTopic(), Program.parsed(event.getData().toByteArray(), event.getDataContentType()));
      statuses.addStatuses(
          TopicEventBulkResponseEntry.newBuilder().setEntryId(entry.getEntryId()).setStatus(TopicEventResponseStatus.SUCCESS));
    }
    answer(observer, statuses.build());
  }

  @Override
  public void onInvoke(InvokeRequest request, StreamObserver<InvokeResponse> observer) {
    String body = request.getData().getValue().toStringUtf8();
    boolean post = request.getHttpExtension().getVerb() == Verb.POST;
    String said = "{\"app\":\"" + APP + "\"," + (post ? "\"method\":\"POST\",\"heard\":" + body : "\"method\":\"GET\"") + "}";
    Any data = Any.newBuilder().setValue(ByteString.copyFromUtf8(said)).build();
    answer(observer, InvokeResponse.newBuilder().setData(data).setContentType("application/json").build());
  }

  @Override
  public void listInputBindings(Empty request, StreamObserver<ListInputBindingsResponse> observer) {
    answer(observer, ListInputBindingsResponse.newBuilder().addBindings("tick").build());
  }

  @Override
  public void onBindingEvent(BindingEventRequest event, StreamObserver<BindingEventResponse> observer) {
    program.note(event.getName(), true);
    answer(observer, BindingEventResponse.getDefaultInstance());
  }

  private static <T> void answer(StreamObserver<T> observer, T value) {
    observer.onNext(value);
    observer.onCompleted();
  }
}
