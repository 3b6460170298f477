// Notification Service with the standard library alone: the same as node/notifications.mjs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	tries = 4
	kept  = 1000
)

type task struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

type notification struct {
	TaskID   string    `json:"taskId"`
	Title    string    `json:"title"`
	Attempts int       `json:"attempts"`
	EventID  string    `json:"eventId"`
	At       time.Time `json:"at"`
}

var (
	mutex         sync.Mutex
	notifications = []notification{}
	client        = &http.Client{Timeout: 10 * time.Second}
)

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// sidecar calls this app's own sidecar and gives the body of a good answer.
func sidecar(method, path string, headers map[string]string) ([]byte, error) {
	url := fmt.Sprintf("http://127.0.0.1:%s/v1.0/%s", env("DAPR_HTTP_PORT", "3501"), path)
	request, err := http.NewRequest(method, url, bytes.NewReader([]byte("{}")))
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet {
		request.Body, request.ContentLength = http.NoBody, 0
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s /v1.0/%s: %d %s", method, path, response.StatusCode, body)
	}
	return body, err
}

func tellTaskAPI(id string) error {
	body, err := sidecar(http.MethodGet, "secrets/secretstore/notifications-api-key", nil)
	if err != nil {
		return err
	}
	secret := map[string]string{}
	if err := json.Unmarshal(body, &secret); err != nil {
		return err
	}
	_, err = sidecar(http.MethodPost, "invoke/task-api/method/tasks/"+id+"/notified", map[string]string{"x-api-key": secret["notifications-api-key"]})
	return err
}

func known(id string) bool {
	mutex.Lock()
	defer mutex.Unlock()
	for _, one := range notifications {
		if one.TaskID == id {
			return true
		}
	}
	return false
}

func onTaskCreated(writer http.ResponseWriter, request *http.Request) {
	event := struct {
		ID   string `json:"id"`
		Data task   `json:"data"`
	}{}
	if err := json.NewDecoder(http.MaxBytesReader(writer, request.Body, 1<<20)).Decode(&event); err != nil {
		answer(writer, map[string]string{"status": "DROP"})
		return
	}
	id := event.Data.ID
	// The broker delivers at least once: what is done is not done again.
	for attempt := 1; attempt <= tries && !known(id); attempt++ {
		err := tellTaskAPI(id)
		if err == nil {
			mutex.Lock()
			notifications = append(notifications, notification{id, event.Data.Title, attempt, event.ID, time.Now().UTC()})
			if len(notifications) > kept {
				notifications = notifications[1:]
			}
			mutex.Unlock()
			fmt.Printf("received task-created for %s; the Task API knows (attempt %d)\n", id, attempt)
			break
		}
		fmt.Printf("attempt %d of %d for %s failed: %v\n", attempt, tries, id, err)
		if attempt < tries {
			time.Sleep(time.Duration(100<<attempt) * time.Millisecond)
		}
	}
	if known(id) {
		answer(writer, map[string]string{"status": "SUCCESS"})
	} else {
		answer(writer, map[string]string{"status": "RETRY"})
	}
}

func answer(writer http.ResponseWriter, value any) {
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(value)
}

func main() {
	http.HandleFunc("/dapr/subscribe", func(writer http.ResponseWriter, _ *http.Request) {
		answer(writer, []map[string]string{{"pubsubname": "pubsub", "topic": "task-created", "route": "/events/task-created"}})
	})
	http.HandleFunc("/events/task-created", onTaskCreated)
	http.HandleFunc("/notifications", func(writer http.ResponseWriter, _ *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		answer(writer, notifications)
	})
	server := &http.Server{Addr: "127.0.0.1:" + env("APP_PORT", "8001"), ReadHeaderTimeout: 5 * time.Second}
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	go func() {
		<-stop.Done()
		_ = server.Shutdown(context.Background())
	}()
	fmt.Printf("Notification Service listens on http://localhost%s\n", server.Addr[9:])
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
