// An app on the official Go SDK: its client speaks gRPC, its service what APP_PROTOCOL says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	grpcservice "github.com/dapr/go-sdk/service/grpc"
	httpservice "github.com/dapr/go-sdk/service/http"
	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	box := newInbox()
	service := newService(box)
	must(addHandlers(service, box))
	go func() {
		if err := service.Start(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	dapr, err := client.NewClient()
	must(err)
	serve(features(dapr, box))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newService(box *inbox) common.Service {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	if os.Getenv("APP_PROTOCOL") == "http" {
		// Where a Subscription resource sends events: a route of the app's own beside the SDK's.
		mux := chi.NewMux()
		mux.Post("/declared", func(_ http.ResponseWriter, request *http.Request) {
			var event common.TopicEvent
			must(json.NewDecoder(request.Body).Decode(&event))
			box.note("declared", event.Data)
		})
		return httpservice.NewServiceWithMux(address, mux)
	}
	listener, err := net.Listen("tcp", address)
	must(err)
	server := grpc.NewServer()
	server.RegisterService(&greeter, nil)
	return grpcservice.NewServiceWithGrpcServer(listener, server)
}

// greeter is a gRPC service of the app's own, for calls that the sidecar passes through.
var greeter = grpc.ServiceDesc{
	ServiceName: "test.Greeter",
	Methods: []grpc.MethodDesc{{
		MethodName: "Greet",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var name wrapperspb.StringValue
			if err := decode(&name); err != nil {
				return nil, err
			}
			return wrapperspb.String("hello " + name.GetValue() + " from " + os.Getenv("APP_ID")), nil
		},
	}},
}

func addHandlers(service common.Service, box *inbox) error {
	note := func(name string) common.TopicEventHandler {
		return func(_ context.Context, event *common.TopicEvent) (bool, error) {
			box.note(name, event.Data)
			return false, nil
		}
	}
	routed := func(route string) common.TopicEventHandler {
		return func(_ context.Context, event *common.TopicEvent) (bool, error) {
			box.note("routed", []any{route, event.Data})
			return false, nil
		}
	}
	raw := func(_ context.Context, event *common.TopicEvent) (bool, error) {
		var data any
		err := event.Struct(&data)
		box.note("raw", data)
		return false, err
	}
	poison := func(context.Context, *common.TopicEvent) (bool, error) { return false, errors.New("bad") }
	retried := func(_ context.Context, event *common.TopicEvent) (bool, error) {
		if box.note("retried", event.Data) < 3 {
			return true, errors.New("not yet")
		}
		return false, nil
	}
	topic := func(name string) *common.Subscription {
		return &common.Subscription{PubsubName: "pubsub", Topic: name, Route: "/" + name}
	}
	important := topic("routed")
	important.Route, important.Match, important.Priority = "/important", `event.type == "important"`, 1
	bytes := topic("raw")
	bytes.Metadata = map[string]string{"rawPayload": "true"}
	dying := topic("poison")
	dying.DeadLetterTopic = "dead"
	subscriptions := []error{
		service.AddTopicEventHandler(topic("plain"), note("plain")),
		service.AddTopicEventHandler(topic("many"), note("many")),
		service.AddTopicEventHandler(topic("routed"), routed("other")),
		service.AddTopicEventHandler(important, routed("important")),
		service.AddTopicEventHandler(bytes, raw),
		service.AddTopicEventHandler(dying, poison),
		service.AddTopicEventHandler(topic("dead"), note("dead")),
		service.AddTopicEventHandler(topic("retried"), retried),
		service.AddBindingInvocationHandler("tick", func(context.Context, *common.BindingEvent) ([]byte, error) {
			box.note("tick", true)
			return nil, nil
		}),
		service.AddServiceInvocationHandler("hello", hello),
	}
	if os.Getenv("APP_PROTOCOL") == "grpc" {
		// Events of a topic that only a resource declares come to the handler that takes any topic.
		any := &common.Subscription{PubsubName: "pubsub", Topic: "unused", Route: "/declared", DisableTopicValidation: true}
		subscriptions = append(subscriptions, service.AddTopicEventHandler(any, note("declared")))
	}
	return errors.Join(subscriptions...)
}

func hello(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
	answer := map[string]any{"app": os.Getenv("APP_ID"), "method": in.Verb}
	if len(in.Data) > 0 {
		answer["heard"] = json.RawMessage(in.Data)
	}
	data, err := json.Marshal(answer)
	return &common.Content{Data: data, ContentType: "application/json"}, err
}
