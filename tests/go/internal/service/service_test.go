package service

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// running is a service that a test started on a free port.
type running struct {
	base string
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T) running {
	t.Helper()
	return startWith(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "own") })
}

func startWith(t *testing.T, handler http.HandlerFunc) running {
	t.Helper()
	reader, writer := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	options := &Options{Listen: "127.0.0.1:0", Name: "test-1", IdleTimeout: time.Minute, Grace: 5 * time.Second}
	go func() { done <- Run(ctx, options, handler, writer) }()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, found := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !found {
		t.Fatalf("announced %q", line)
	}
	return running{base: "http://" + address, stop: stop, done: done}
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestEveryAnswerNamesItsInstance(t *testing.T) {
	service := start(t)
	for path, want := range map[string]string{"/": "own", "/other": "own", "/healthz": "{\"status\":\"ok\"}\n", "/slow?ms=1": "{\"waited_ms\":1}\n"} {
		response, body := get(t, service.base+path)
		if body != want || response.Header.Get("X-Instance") != "test-1" {
			t.Errorf("%s: got %q from %q", path, body, response.Header.Get("X-Instance"))
		}
	}
}

func TestBadNumbersAreRefused(t *testing.T) {
	service := start(t)
	for _, path := range []string{"/slow?ms=x", "/slow?ms=60001", "/events?every_ms=0", "/events?count=-1"} {
		if response, _ := get(t, service.base+path); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d", path, response.StatusCode)
		}
	}
}

func TestEventsAreSentOneByOne(t *testing.T) {
	service := start(t)
	response, body := get(t, service.base+"/events?count=3&every_ms=1")
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got content type %q", got)
	}
	if got := strings.Count(body, "event: tick\n"); got != 3 {
		t.Errorf("got %d events in %q", got, body)
	}
}

func TestHTTP2IsServedWithPriorKnowledge(t *testing.T) {
	service := start(t)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := http.Client{Transport: &http.Transport{Protocols: &protocols}}
	response, err := client.Get(service.base + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("got %s", response.Proto)
	}
}

func TestAStopFinishesWhatRuns(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	service := startWith(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "whole")
	})
	answered := make(chan string, 1)
	go func() {
		defer close(answered)
		response, err := http.Get(service.base + "/")
		if err != nil {
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answered <- string(body)
	}()
	<-arrived

	service.stop()
	close(release)

	if body := <-answered; body != "whole" {
		t.Errorf("got %q", body)
	}
	if err := <-service.done; err != nil {
		t.Errorf("the stop failed: %v", err)
	}
}

func TestAStopEndsEventStreamsCleanly(t *testing.T) {
	service := start(t)
	stream, err := http.Get(service.base + "/events?every_ms=60000")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	service.stop()

	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the event stream was cut: %v", err)
	}
	if err := <-service.done; err != nil {
		t.Errorf("the stop failed: %v", err)
	}
}
