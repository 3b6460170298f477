package main

import (
	"encoding/json"
	"errors"
	"sort"

	"github.com/dapr/go-sdk/client"
)

func stateFeatures(dapr client.Client) map[string]feature {
	get := func(key string) any {
		item, err := dapr.GetState(ctx, "statestore", key, nil)
		if err != nil {
			return err.Error()
		}
		if len(item.Value) == 0 {
			return nil
		}
		return string(item.Value)
	}
	save := func(key, value string) error { return dapr.SaveState(ctx, "statestore", key, []byte(value), nil) }
	return map[string]feature{
		"state: save and get": func() (any, error) {
			if err := errors.Join(save("object", `{"a":[1,"ö"]}`), save("text", "plain")); err != nil {
				return nil, err
			}
			item, err := dapr.GetState(ctx, "statestore", "object", nil)
			if err != nil {
				return nil, err
			}
			return list{json.RawMessage(item.Value), get("text"), get("missing")}, nil
		},
		"state: bulk save": func() (any, error) {
			one := &client.SetStateItem{Key: "bulk1", Value: []byte("one")}
			two := &client.SetStateItem{Key: "bulk2", Value: []byte("two")}
			err := dapr.SaveBulkState(ctx, "statestore", one, two)
			return list{get("bulk1"), get("bulk2")}, err
		},
		"state: bulk get": func() (any, error) {
			items, err := dapr.GetBulkState(ctx, "statestore", []string{"object", "missing"}, nil, 10)
			if err != nil {
				return nil, err
			}
			sort.Slice(items, func(a, b int) bool { return items[a].Key < items[b].Key })
			var answer list
			for _, item := range items {
				var value any
				if len(item.Value) > 0 {
					value = json.RawMessage(item.Value)
				}
				answer = append(answer, list{item.Key, value})
			}
			return answer, nil
		},
		"state: delete": func() (any, error) {
			err := dapr.DeleteState(ctx, "statestore", "text", nil)
			return list{get("text")}, err
		},
		"state: transaction": func() (any, error) {
			err := dapr.ExecuteStateTransaction(ctx, "statestore", nil, []*client.StateOperation{
				{Type: client.StateOperationTypeUpsert, Item: &client.SetStateItem{Key: "first", Value: []byte("one")}},
				{Type: client.StateOperationTypeUpsert, Item: &client.SetStateItem{Key: "second", Value: []byte("two")}},
				{Type: client.StateOperationTypeDelete, Item: &client.SetStateItem{Key: "object"}},
			})
			return list{get("first"), get("second"), get("object")}, err
		},
		"state: a stale etag is refused": func() (any, error) {
			if err := save("tagged", "one"); err != nil {
				return nil, err
			}
			item, err := dapr.GetState(ctx, "statestore", "tagged", nil)
			if err != nil {
				return nil, err
			}
			// Without this the SDK asks for the last write to win, whatever the etag.
			first := client.WithConcurrency(client.StateConcurrencyFirstWrite)
			if err := dapr.SaveStateWithETag(ctx, "statestore", "tagged", []byte("two"), item.Etag, nil, first); err != nil {
				return nil, err
			}
			err = dapr.SaveStateWithETag(ctx, "statestore", "tagged", []byte("three"), item.Etag, nil, first)
			if said, _ := found("Aborted", err); said != "Aborted" {
				return said, nil
			}
			return list{"refused", get("tagged")}, nil
		},
		"state: query": func() (any, error) {
			typed := map[string]string{"contentType": "application/json"}
			for key, value := range map[string]string{
				"ann": `{"city":"Rome","age":3}`, "bob": `{"city":"Oslo","age":2}`, "cem": `{"city":"Rome","age":1}`,
			} {
				if err := dapr.SaveState(ctx, "querystore", key, []byte(value), typed); err != nil {
					return nil, err
				}
			}
			query := `{"filter":{"EQ":{"city":"Rome"}},"sort":[{"key":"age","order":"ASC"}],"page":{"limit":10}}`
			answer, err := dapr.QueryStateAlpha1(ctx, "querystore", query, nil)
			if err != nil {
				return nil, err
			}
			var keys list
			for _, item := range answer.Results {
				keys = append(keys, item.Key)
			}
			return keys, nil
		},
	}
}
