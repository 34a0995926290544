// Command auth issues and verifies bearer tokens.
package main

import (
	"flag"
	"os"
	"time"

	"tidegate.example/fixtures/internal/auth"
	"tidegate.example/fixtures/internal/service"
	"tidegate.example/fixtures/internal/token"
)

func main() {
	options := service.Flags(flag.CommandLine, "auth")
	key := flag.String("key", "fixture", "signing key; instances that share it accept each other's tokens")
	flag.Parse()
	handlers := auth.Service{
		Signer:    token.NewSigner([]byte(*key)),
		Passwords: map[string]string{"ada": "lovelace", "rob": "pike"},
		Now:       time.Now,
	}
	os.Exit(service.Main(options, handlers.Handler()))
}
