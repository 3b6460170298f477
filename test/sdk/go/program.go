package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"sync"
)

// feature is one thing that the test asks for by name; what it gives must be what the test expects.
type feature func() (any, error)

var output sync.Mutex

func reply(message map[string]any) {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	fmt.Printf("@@%s\n", text)
}

// serve runs the features that the test asks for until the test is over; one that never ends holds up no other.
func serve(features map[string]feature) {
	reply(map[string]any{"feature": "ready"})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name := lines.Text()
		run, known := features[name]
		if !known {
			reply(map[string]any{"feature": name, "error": "the program has no such feature"})
			continue
		}
		go func() {
			result, err := run()
			if err != nil {
				reply(map[string]any{"feature": name, "error": err.Error()})
				return
			}
			reply(map[string]any{"feature": name, "result": result})
		}()
	}
}

// inbox notes what handlers receive, so that a feature can wait for it.
type inbox struct {
	mutex   sync.Mutex
	changed *sync.Cond
	heard   map[string][]any
}

func newInbox() *inbox {
	box := &inbox{heard: map[string][]any{}}
	box.changed = sync.NewCond(&box.mutex)
	return box
}

// note gives how many there are of that name, this one included.
func (box *inbox) note(name string, value any) int {
	box.mutex.Lock()
	defer box.mutex.Unlock()
	box.heard[name] = append(box.heard[name], value)
	box.changed.Broadcast()
	return len(box.heard[name])
}

// until gives everything that came under a name once there are count of it.
func (box *inbox) until(name string, count int) ([]any, error) {
	box.mutex.Lock()
	defer box.mutex.Unlock()
	for len(box.heard[name]) < count {
		box.changed.Wait()
	}
	return append([]any{}, box.heard[name]...), nil
}

// ordered sorts values by how they are written in JSON, for events that may come in any order.
func ordered(values []any, err error) ([]any, error) {
	written := func(value any) string {
		text, _ := json.Marshal(value)
		return string(text)
	}
	sort.Slice(values, func(a, b int) bool { return written(values[a]) < written(values[b]) })
	return values, err
}
