package rpcclient

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidegate.example/fixtures/internal/rpcservice"
)

// serve runs a real server at an own path of the default mux, as rpc.HandleHTTP does.
func serve(t *testing.T, path string) string {
	t.Helper()
	server, err := rpcservice.New("one")
	if err != nil {
		t.Fatal(err)
	}
	server.HandleHTTP(path, path+"/debug")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go http.Serve(listener, nil)
	return listener.Addr().String()
}

func TestCallsAreSharedByTheConnectionsAndCounted(t *testing.T) {
	address := serve(t, "/count")
	plan := Plan{Address: address, Path: "/count", Connections: 3, Calls: 10, Concurrency: 2, Echo: 100, Timeout: 5 * time.Second}
	fleet := Open(plan)
	defer fleet.Close()
	for range 2 {
		report := fleet.Round()
		if report.Opened != 3 || report.Calls != 10 || report.Failures != 0 || report.Servers["one"] != 10 || report.Connections["one"] != 3 {
			t.Errorf("got %+v", report)
		}
	}
}

func TestARefusalHasTheTextOfTheLibrary(t *testing.T) {
	address := serve(t, "/refusal")
	report := Open(Plan{Address: address, Path: "/other", Connections: 2, Calls: 2, Concurrency: 1, Timeout: 5 * time.Second}).Round()
	if report.Opened != 0 || report.Failures != 2 || len(report.Errors) != 1 {
		t.Fatalf("got %+v", report)
	}
	for text := range report.Errors {
		if !strings.HasPrefix(text, "dial-http tcp "+address) || !strings.HasSuffix(text, "unexpected HTTP response: 404 Not Found") {
			t.Errorf("got %q", text)
		}
	}
}

func TestACallThatTakesTooLongIsAFailure(t *testing.T) {
	address := serve(t, "/slow")
	report := Open(Plan{Address: address, Path: "/slow", Connections: 1, Calls: 1, Concurrency: 1, Sleep: 10 * time.Second, Timeout: 50 * time.Millisecond}).Round()
	if report.Errors["no answer within 50ms"] != 1 {
		t.Errorf("got %+v", report)
	}
}
