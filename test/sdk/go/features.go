package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/dapr/go-sdk/client"
)

var ctx = context.Background()

type object = map[string]any
type list = []any

func features(dapr client.Client, box *inbox) map[string]feature {
	all := map[string]feature{
		"wait for the sidecar":           func() (any, error) { return true, dapr.Wait(ctx, 5*time.Second) },
		"bindings: in":                   func() (any, error) { got, err := box.until("tick", 1); return len(got) > 0, err },
		"shutdown":                       func() (any, error) { return nil, dapr.Shutdown(ctx) },
		"metadata: get and set":          func() (any, error) { return aboutMetadata(dapr) },
		"bindings: out":                  func() (any, error) { return aboutBindings(dapr) },
		"secrets: one and all":           func() (any, error) { return aboutSecrets(dapr) },
		"configuration: get":             func() (any, error) { return getConfiguration(dapr) },
		"configuration: subscribe":       func() (any, error) { return subscribeConfiguration(dapr) },
		"lock: one owner at a time":      func() (any, error) { return aboutLocks(dapr) },
		"crypto: encrypt and decrypt":    func() (any, error) { return aboutCrypto(dapr) },
		"conversation: echo":             func() (any, error) { return converse(dapr) },
		"conversation: echo over Alpha1": func() (any, error) { return converseAlpha1(dapr) },
	}
	for _, more := range []map[string]feature{stateFeatures(dapr), eventFeatures(dapr, box), invocationFeatures(dapr)} {
		for name, run := range more {
			all[name] = run
		}
	}
	return all
}

// found gives the part of an error's text that matches, or all of it.
func found(pattern string, err error) (any, error) {
	if err == nil {
		return nil, errors.New("no error")
	}
	if match := regexp.MustCompile(pattern).FindString(err.Error()); match != "" {
		return match, nil
	}
	return err.Error(), nil
}

func aboutSecrets(dapr client.Client) (any, error) {
	one, err := dapr.GetSecret(ctx, "secretstore", "password", nil)
	if err != nil {
		return nil, err
	}
	all, err := dapr.GetBulkSecret(ctx, "secretstore", nil)
	return list{one, all}, err
}

func getConfiguration(dapr client.Client) (any, error) {
	item, err := dapr.GetConfigurationItem(ctx, "configstore", "size")
	if err != nil {
		return nil, err
	}
	return object{"size": item.Value}, nil
}

func subscribeConfiguration(dapr client.Client) (any, error) {
	seen := make(chan string, 1)
	handle := func(_ string, items map[string]*client.ConfigurationItem) {
		select {
		case seen <- items["color"].Value:
		default:
		}
	}
	id, err := dapr.SubscribeConfigurationItems(ctx, "configstore", []string{"color"}, handle)
	if err != nil {
		return nil, err
	}
	color := <-seen
	return object{"color": color}, dapr.UnsubscribeConfigurationItems(ctx, "configstore", id)
}

func aboutLocks(dapr client.Client) (any, error) {
	var problems []error
	lock := func(owner string) any {
		request := &client.LockRequest{ResourceID: "printer", LockOwner: owner, ExpiryInSeconds: 60}
		answer, err := dapr.TryLockAlpha1(ctx, "lockstore", request)
		if err != nil {
			problems = append(problems, err)
			return nil
		}
		return answer.Success
	}
	unlock := func(owner string) any {
		answer, err := dapr.UnlockAlpha1(ctx, "lockstore", &client.UnlockRequest{ResourceID: "printer", LockOwner: owner})
		if err != nil {
			problems = append(problems, err)
			return nil
		}
		return strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(answer.Status), "lock_"), "_", " ")
	}
	said := list{lock("ann"), lock("bob"), unlock("bob"), unlock("ann"), unlock("ann")}
	return said, errors.Join(problems...)
}

func aboutCrypto(dapr client.Client) (any, error) {
	plain := strings.Repeat("secret ", 50_000)
	options := client.EncryptOptions{ComponentName: "vault", KeyName: "rsa.pem", KeyWrapAlgorithm: "RSA"}
	stream, err := dapr.Encrypt(ctx, strings.NewReader(plain), options)
	if err != nil {
		return nil, err
	}
	sealed, err := io.ReadAll(stream)
	if err != nil {
		return nil, err
	}
	stream, err = dapr.Decrypt(ctx, bytes.NewReader(sealed), client.DecryptOptions{ComponentName: "vault", KeyName: "rsa.pem"})
	if err != nil {
		return nil, err
	}
	opened, err := io.ReadAll(stream)
	if !bytes.HasPrefix(sealed, []byte("dapr.io/enc/v1")) || string(opened) != plain {
		return nil, errors.Join(err, errors.New("sealed or opened is not what it should be"))
	}
	return list{"sealed", "opened"}, err
}

func aboutBindings(dapr client.Client) (any, error) {
	file := map[string]string{"fileName": "note.txt"}
	create := &client.InvokeBindingRequest{Name: "files", Operation: "create", Data: []byte("to be kept"), Metadata: file}
	if err := dapr.InvokeOutputBinding(ctx, create); err != nil {
		return nil, err
	}
	got, err := dapr.InvokeBinding(ctx, &client.InvokeBindingRequest{Name: "files", Operation: "get", Metadata: file})
	if err != nil {
		return nil, err
	}
	return string(got.Data), nil
}

func converse(dapr client.Client) (any, error) {
	hello := "hello"
	content := []*client.ConversationMessageContentAlpha2{{Text: &hello}}
	message := &client.ConversationMessageAlpha2{ConversationMessageOfUser: &client.ConversationMessageOfUserAlpha2{Content: content}}
	answer, err := dapr.ConverseAlpha2(ctx, client.ConversationRequestAlpha2{
		Name:   "echo",
		Inputs: []*client.ConversationInputAlpha2{{Messages: []*client.ConversationMessageAlpha2{message}}},
	})
	if err != nil {
		return nil, err
	}
	var said list
	for _, output := range answer.Outputs {
		for _, choice := range output.Choices {
			said = append(said, choice.Message.Content)
		}
	}
	return said, nil
}

func converseAlpha1(dapr client.Client) (any, error) {
	request := client.NewConversationRequest("echo", []client.ConversationInput{{Content: "hello"}})
	answer, err := dapr.ConverseAlpha1(ctx, request)
	if err != nil {
		return nil, err
	}
	var said list
	for _, output := range answer.Outputs {
		said = append(said, output.Result)
	}
	return said, nil
}

func aboutMetadata(dapr client.Client) (any, error) {
	if err := dapr.SetMetadata(ctx, "flavour", "sweet"); err != nil {
		return nil, err
	}
	known, err := dapr.GetMetadata(ctx)
	if err != nil {
		return nil, err
	}
	answer := object{"flavour": known.ExtendedMetadata["flavour"]}
	for _, component := range known.RegisteredComponents {
		if component.Name == "statestore" {
			answer["statestore"] = component.Type
		}
	}
	return answer, nil
}
