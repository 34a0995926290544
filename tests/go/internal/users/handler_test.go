package users

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestRequests(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		status                   int
		answer                   string
	}{
		{"a user is found by id", "GET", "/users/1", "", http.StatusOK, `{"id":"1","name":"Ada"}`},
		{"an unknown id is a JSON 404", "GET", "/users/9", "", http.StatusNotFound, `{"error":"not_found","message":"there is no such user"}`},
		{"the list is ordered by id", "GET", "/users", "", http.StatusOK, `[{"id":"1","name":"Ada"},{"id":"2","name":"Rob"}]`},
		{"a new user is created", "POST", "/users", `{"id":"3","name":"Ken"}`, http.StatusCreated, `{"id":"3","name":"Ken"}`},
		{"a second user with the id conflicts", "POST", "/users", `{"id":"1"}`, http.StatusConflict, `{"error":"exists","message":"a user with this id was created before"}`},
		{"a user needs an id", "POST", "/users", `{"name":"Ken"}`, http.StatusUnprocessableEntity, `{"error":"no_id","message":"a user needs an id"}`},
		{"a cut body is refused", "POST", "/users", `{"id":`, http.StatusBadRequest, `{"error":"bad_json","message":"unexpected EOF"}`},
		{"stats start at zero", "GET", "/users/stats", "", http.StatusOK, `{"instance":"users-1","posts":0,"unique":0}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			handler := Handler(NewStore(User{"2", "Rob"}, User{"1", "Ada"}), "users-1")
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
			if recorder.Code != test.status {
				t.Errorf("got status %d, want %d", recorder.Code, test.status)
			}
			if got := strings.TrimSpace(recorder.Body.String()); got != test.answer {
				t.Errorf("got %s, want %s", got, test.answer)
			}
		})
	}
}

func TestEveryExecutionIsCountedOnce(t *testing.T) {
	store := NewStore()
	var group sync.WaitGroup
	for n := range 100 {
		group.Add(1)
		go func() {
			defer group.Done()
			store.Create(User{ID: fmt.Sprint(n / 2)})
		}()
	}
	group.Wait()
	if got, want := store.Stats(), (Stats{Posts: 100, Unique: 50}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
