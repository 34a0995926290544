// Package users is a small REST resource that counts how often it was written to.
package users

import (
	"encoding/json"
	"net/http"

	"tidegate.example/fixtures/internal/reply"
)

// maxBody bounds the body of POST /users, in bytes.
const maxBody = 64 << 10

type handler struct {
	store    *Store
	instance string
}

// Handler serves the store for the named instance.
func Handler(store *Store, instance string) http.Handler {
	h := handler{store: store, instance: instance}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users", h.list)
	mux.HandleFunc("POST /users", h.create)
	mux.HandleFunc("GET /users/stats", h.stats)
	mux.HandleFunc("GET /users/{id}", h.find)
	return mux
}

func (h handler) list(w http.ResponseWriter, _ *http.Request) {
	reply.JSON(w, http.StatusOK, h.store.List())
}

func (h handler) find(w http.ResponseWriter, r *http.Request) {
	user, found := h.store.Find(r.PathValue("id"))
	if !found {
		reply.Error(w, http.StatusNotFound, "not_found", "there is no such user")
		return
	}
	reply.JSON(w, http.StatusOK, user)
}

func (h handler) create(w http.ResponseWriter, r *http.Request) {
	var user User
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&user); err != nil {
		reply.Error(w, http.StatusBadRequest, "bad_json", err.Error())
		return
	}
	if user.ID == "" {
		reply.Error(w, http.StatusUnprocessableEntity, "no_id", "a user needs an id")
		return
	}
	if !h.store.Create(user) {
		reply.Error(w, http.StatusConflict, "exists", "a user with this id was created before")
		return
	}
	w.Header().Set("Location", "/users/"+user.ID)
	reply.JSON(w, http.StatusCreated, user)
}

func (h handler) stats(w http.ResponseWriter, _ *http.Request) {
	stats := h.store.Stats()
	stats.Instance = h.instance
	reply.JSON(w, http.StatusOK, stats)
}
