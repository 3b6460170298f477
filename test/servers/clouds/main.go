// Stand-ins for services of Azure and Google Cloud, made of what their own SDKs are tested with: clouds <service> <host:port>.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"cloud.google.com/go/pubsub/pstest"
	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: clouds keyvault|pubsub|storage|secretmanager host:port"))
	}
	address := os.Args[2]
	switch os.Args[1] {
	case "keyvault":
		keyvault(address)
	case "pubsub":
		pstest.NewServerWithAddress(address)
	case "storage":
		storage(address)
	case "secretmanager":
		secretmanager(address)
	default:
		fail(fmt.Errorf("no stand-in for %s", os.Args[1]))
	}
	fmt.Println("ready")
	select {}
}

func storage(address string) {
	host, text, err := net.SplitHostPort(address)
	fail(err)
	port, err := strconv.ParseUint(text, 10, 16)
	fail(err)
	_, err = fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http", Host: host, Port: uint16(port), PublicHost: address, ExternalURL: "http://" + address})
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
