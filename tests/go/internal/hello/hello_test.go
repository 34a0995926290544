package hello

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGreetingNamesInstanceAndPathAsSent(t *testing.T) {
	recorder := httptest.NewRecorder()
	Handler("hello-1").ServeHTTP(recorder, httptest.NewRequest("GET", "/a%2Fb/c?q=1", nil))

	var got Greeting
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatalf("body %q: %v", recorder.Body, err)
	}
	want := Greeting{Service: "hello", Instance: "hello-1", Path: "/a%2Fb/c"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	recorder := httptest.NewRecorder()
	Handler("hello-1").ServeHTTP(recorder, httptest.NewRequest("DELETE", "/", nil))
	if recorder.Code != http.StatusMethodNotAllowed {
		t.Errorf("got %d, want %d", recorder.Code, http.StatusMethodNotAllowed)
	}
}
