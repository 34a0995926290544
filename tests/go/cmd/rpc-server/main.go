// Command rpc-server serves Go's net/rpc over HTTP: the service Fixture with Name, Echo and Sleep.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/rpc"
	"os"

	"tidegate.example/fixtures/internal/rpcservice"
	"tidegate.example/fixtures/internal/service"
)

func main() {
	options := service.Flags(flag.CommandLine, "rpc-server")
	path := flag.String("path", rpc.DefaultRPCPath, "path of the service")
	flag.Parse()
	server, err := rpcservice.New(options.Name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server.HandleHTTP(*path, rpc.DefaultDebugPath)
	os.Exit(service.Main(options, http.DefaultServeMux))
}
