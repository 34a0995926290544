package auth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidegate.example/fixtures/internal/token"
)

type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func newService() (Service, *clock) {
	time := &clock{now: time.Unix(1_700_000_000, 0)}
	return Service{
		Signer:    token.NewSigner([]byte("key")),
		Passwords: map[string]string{"ada": "lovelace"},
		Now:       time.read,
	}, time
}

func login(service Service, body string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	service.Handler().ServeHTTP(recorder, httptest.NewRequest("POST", "/token", strings.NewReader(body)))
	return recorder
}

func verify(service Service, authorization string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest("GET", "/verify", nil)
	request.Header.Set("Authorization", authorization)
	service.Handler().ServeHTTP(recorder, request)
	return recorder
}

func TestATokenIsGoodUntilItExpires(t *testing.T) {
	service, clock := newService()
	answer := login(service, `{"user":"ada","password":"lovelace"}`)
	var got issued
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("got %d %q: %v", answer.Code, answer.Body, err)
	}

	checked := verify(service, "bearer "+got.Token)
	if checked.Code != http.StatusOK || checked.Header().Get("X-User") != "ada" {
		t.Errorf("got %d, X-User %q", checked.Code, checked.Header().Get("X-User"))
	}

	clock.now = clock.now.Add(Lifetime)
	if late := verify(service, "Bearer "+got.Token); late.Code != http.StatusUnauthorized {
		t.Errorf("an expired token got %d", late.Code)
	}
}

func TestWrongCredentialsGetNoToken(t *testing.T) {
	service, _ := newService()
	for _, body := range []string{`{"user":"ada","password":"x"}`, `{"user":"eve","password":""}`} {
		if answer := login(service, body); answer.Code != http.StatusUnauthorized {
			t.Errorf("%s got %d", body, answer.Code)
		}
	}
}

func TestARequestWithoutAGoodTokenIsChallenged(t *testing.T) {
	service, _ := newService()
	for _, authorization := range []string{"", "Basic YTpi", "Bearer", "Bearer x.y"} {
		answer := verify(service, authorization)
		if answer.Code != http.StatusUnauthorized || !strings.HasPrefix(answer.Header().Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%q got %d, WWW-Authenticate %q", authorization, answer.Code, answer.Header().Get("WWW-Authenticate"))
		}
	}
}
