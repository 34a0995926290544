// Command users serves a small REST resource from memory.
package main

import (
	"flag"
	"os"

	"tidegate.example/fixtures/internal/service"
	"tidegate.example/fixtures/internal/users"
)

func main() {
	options := service.Flags(flag.CommandLine, "users")
	flag.Parse()
	store := users.NewStore(users.User{ID: "1", Name: "Ada"}, users.User{ID: "2", Name: "Rob"}, users.User{ID: "3", Name: "Ken"})
	os.Exit(service.Main(options, users.Handler(store, options.Name)))
}
