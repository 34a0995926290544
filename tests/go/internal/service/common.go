package service

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"tidegate.example/fixtures/internal/reply"
)

// longest bounds /slow.
const longest = time.Minute

// common adds what every service has: health, a slow path, an event stream, and the fields
// X-Instance and X-Connection, the other end of the connection.
func common(instance string, stopping *atomic.Bool, streams context.Context, handler http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { healthz(w, stopping) })
	mux.HandleFunc("GET /slow", slow)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { events(w, r, instance, streams) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", instance)
		w.Header().Set("X-Connection", r.RemoteAddr)
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func healthz(w http.ResponseWriter, stopping *atomic.Bool) {
	if stopping.Load() {
		reply.Error(w, http.StatusServiceUnavailable, "stopping", "this instance is going away")
		return
	}
	reply.JSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func slow(w http.ResponseWriter, r *http.Request) {
	pause, err := milliseconds(r, "ms", 0)
	if err != nil || pause > longest {
		reply.Error(w, http.StatusBadRequest, "bad_ms", "ms is a number from 0 to "+strconv.FormatInt(longest.Milliseconds(), 10))
		return
	}
	select {
	case <-time.After(pause):
		reply.JSON(w, http.StatusOK, map[string]int64{"waited_ms": pause.Milliseconds()})
	case <-r.Context().Done():
	}
}

// events streams numbered server-sent events until the count is reached, the client leaves or streams ends.
func events(w http.ResponseWriter, r *http.Request, instance string, streams context.Context) {
	every, err := milliseconds(r, "every_ms", time.Second)
	if err != nil || every == 0 {
		reply.Error(w, http.StatusBadRequest, "bad_every_ms", "every_ms is a number above 0")
		return
	}
	count, err := number(r, "count", 0)
	if err != nil {
		reply.Error(w, http.StatusBadRequest, "bad_count", "count is a number; 0 is without end")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	controller := http.NewResponseController(w)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := uint64(1); ; n++ {
		fmt.Fprintf(w, "id: %d\nevent: tick\ndata: {\"instance\":%q,\"n\":%d}\n\n", n, instance, n)
		if controller.Flush() != nil || n == count {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-streams.Done():
			return
		}
	}
}

func milliseconds(r *http.Request, key string, otherwise time.Duration) (time.Duration, error) {
	value, err := number(r, key, uint64(otherwise.Milliseconds()))
	// An hour is far above every use and far below the overflow of a Duration.
	return time.Duration(min(value, uint64(time.Hour.Milliseconds()))) * time.Millisecond, err
}

func number(r *http.Request, key string, otherwise uint64) (uint64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return otherwise, nil
	}
	return strconv.ParseUint(text, 10, 63)
}
