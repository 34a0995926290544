// Package hello answers who it is and what was asked.
package hello

import (
	"net/http"

	"tidegate.example/fixtures/internal/reply"
)

// Greeting is the answer to every path.
type Greeting struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	Path     string `json:"path"`
}

// Handler answers GET on every path for the named instance.
func Handler(instance string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		reply.JSON(w, http.StatusOK, Greeting{Service: "hello", Instance: instance, Path: r.URL.EscapedPath()})
	})
	return mux
}
