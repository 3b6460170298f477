module outrider.dev/examples/tasks/notifications

go 1.21
