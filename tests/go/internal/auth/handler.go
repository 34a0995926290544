// Package auth issues tokens and verifies them, as a forward-auth endpoint does.
package auth

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"tidegate.example/fixtures/internal/reply"
	"tidegate.example/fixtures/internal/token"
)

// maxBody bounds the body of POST /token, in bytes.
const maxBody = 4 << 10

// Lifetime is how long a token is valid.
const Lifetime = time.Hour

// Service holds what the handlers need.
type Service struct {
	Signer    token.Signer
	Passwords map[string]string // by user
	Now       func() time.Time
}

type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

type issued struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"`
}

// Handler serves POST /token and GET /verify.
func (s Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.issue)
	mux.HandleFunc("GET /verify", s.verify)
	return mux
}

func (s Service) issue(w http.ResponseWriter, r *http.Request) {
	var given credentials
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&given); err != nil {
		reply.Error(w, http.StatusBadRequest, "bad_json", err.Error())
		return
	}
	want, known := s.Passwords[given.User]
	if !known || subtle.ConstantTimeCompare([]byte(given.Password), []byte(want)) != 1 {
		reply.Error(w, http.StatusUnauthorized, "bad_credentials", "user or password is wrong")
		return
	}
	expires := s.Now().Add(Lifetime).Unix()
	text, err := s.Signer.Issue(token.Claims{User: given.User, Expires: expires})
	if err != nil {
		reply.Error(w, http.StatusInternalServerError, "cannot_sign", err.Error())
		return
	}
	reply.JSON(w, http.StatusOK, issued{Token: text, Expires: expires})
}

func (s Service) verify(w http.ResponseWriter, r *http.Request) {
	claims, err := s.bearer(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="fixtures", error="invalid_token"`)
		reply.Error(w, http.StatusUnauthorized, "invalid_token", err.Error())
		return
	}
	w.Header().Set("X-User", claims.User)
	reply.JSON(w, http.StatusOK, claims)
}

func (s Service) bearer(r *http.Request) (token.Claims, error) {
	// RFC 9110 §11.1: the scheme's name is case-insensitive.
	scheme, text, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return token.Claims{}, token.ErrMalformed
	}
	return s.Signer.Verify(strings.TrimSpace(text), s.Now())
}
