package main

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func eventFeatures(dapr client.Client, box *inbox) map[string]feature {
	// Publishes one event and waits for what comes of it.
	one := func(topic string, data any, heard string, count int, options ...client.PublishEventOption) feature {
		return func() (any, error) {
			if err := dapr.PublishEvent(ctx, "pubsub", topic, data, options...); err != nil {
				return nil, err
			}
			return box.until(heard, count)
		}
	}
	text := client.PublishEventWithContentType("text/plain")
	subscribe := client.SubscriptionOptions{PubsubName: "pubsub", Topic: "streamed"}
	return map[string]feature{
		"pub/sub: an object and a text": func() (any, error) {
			if _, err := one("plain", object{"id": 1}, "plain", 1)(); err != nil {
				return nil, err
			}
			return one("plain", "hello", "plain", 2, text)()
		},
		"pub/sub: declared by a resource":    one("declared", object{"id": 2}, "declared", 1),
		"pub/sub: raw":                       one("raw", object{"id": 3}, "raw", 1, client.PublishEventWithRawPayload()),
		"pub/sub: dead letter":               one("poison", object{"id": 4}, "dead", 1),
		"pub/sub: retried until it succeeds": one("retried", "again", "retried", 3, text),
		"pub/sub: routes": func() (any, error) {
			cloud := client.PublishEventWithContentType("application/cloudevents+json")
			for id, kind := range map[string]string{"a": "important", "b": "usual"} {
				event, _ := json.Marshal(object{"specversion": "1.0", "id": id, "source": "test", "type": kind,
					"datacontenttype": "application/json", "data": object{"id": id}})
				if err := dapr.PublishEvent(ctx, "pubsub", "routed", event, cloud); err != nil {
					return nil, err
				}
			}
			return ordered(box.until("routed", 2))
		},
		"pub/sub: bulk publish": func() (any, error) {
			if answer := dapr.PublishEvents(ctx, "pubsub", "many", list{"one", "two", object{"id": 3}}); answer.Error != nil {
				return nil, answer.Error
			}
			return ordered(box.until("many", 3))
		},
		"pub/sub: streaming subscription": func() (any, error) {
			subscription, err := dapr.Subscribe(ctx, subscribe)
			if err != nil {
				return nil, err
			}
			var heard list
			receive := func(data any, options ...client.PublishEventOption) error {
				if err := dapr.PublishEvent(ctx, "pubsub", "streamed", data, options...); err != nil {
					return err
				}
				message, err := subscription.Receive()
				if err != nil {
					return err
				}
				heard = append(heard, message.Data)
				return message.Success()
			}
			err = errors.Join(receive(object{"id": 5}), receive("second", text))
			return heard, errors.Join(err, subscription.Close())
		},
		"pub/sub: streaming subscription with a handler": func() (any, error) {
			options := client.SubscriptionOptions{PubsubName: "pubsub", Topic: "handled"}
			stop, err := dapr.SubscribeWithHandler(ctx, options, func(event *common.TopicEvent) common.SubscriptionResponseStatus {
				box.note("handled", event.Data)
				return common.SubscriptionResponseStatusSuccess
			})
			if err != nil {
				return nil, err
			}
			heard, err := one("handled", object{"id": 6}, "handled", 1)()
			return heard, errors.Join(err, stop())
		},
		"pub/sub: an unknown component is an error": func() (any, error) {
			return found("pubsub nosuch is not found", dapr.PublishEvent(ctx, "nosuch", "topic", "x"))
		},
	}
}

func invocationFeatures(dapr client.Client) map[string]feature {
	app, peer := os.Getenv("APP_ID"), os.Getenv("PEER_ID")
	call := func(app string) (any, error) {
		get, err := dapr.InvokeMethod(ctx, app, "hello", "get")
		if err != nil {
			return nil, err
		}
		content := &client.DataContent{Data: []byte(`{"name":"ann"}`), ContentType: "application/json"}
		post, err := dapr.InvokeMethodWithContent(ctx, app, "hello", "post", content)
		return list{json.RawMessage(get), json.RawMessage(post)}, err
	}
	greet := func(app string) (any, error) {
		var answer wrapperspb.StringValue
		to := metadata.AppendToOutgoingContext(ctx, "dapr-app-id", app)
		err := dapr.GrpcClientConn().Invoke(to, "/test.Greeter/Greet", wrapperspb.String("ann"), &answer)
		return list{answer.GetValue()}, err
	}
	return map[string]feature{
		"invocation: GET and POST":                       func() (any, error) { return call(app) },
		"invocation: through two sidecars":               func() (any, error) { return call(peer) },
		"invocation: gRPC proxying":                      func() (any, error) { return greet(app) },
		"invocation: gRPC proxying through two sidecars": func() (any, error) { return greet(peer) },
		"invocation: an unknown app is an error": func() (any, error) {
			_, err := dapr.InvokeMethod(ctx, "nosuch", "hello", "get")
			return found("to invoke, id: nosuch", err)
		},
	}
}
