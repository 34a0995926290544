// Command hello answers every path with its own name.
package main

import (
	"flag"
	"os"

	"tidegate.example/fixtures/internal/hello"
	"tidegate.example/fixtures/internal/service"
)

func main() {
	options := service.Flags(flag.CommandLine, "hello")
	flag.Parse()
	os.Exit(service.Main(options, hello.Handler(options.Name)))
}
