package token

import (
	"errors"
	"testing"
	"time"
)

var now = time.Unix(1_700_000_000, 0)

func issue(t *testing.T, key string, expires time.Time) string {
	t.Helper()
	token, err := NewSigner([]byte(key)).Issue(Claims{User: "ada", Expires: expires.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenCarriesItsUser(t *testing.T) {
	claims, err := NewSigner([]byte("k")).Verify(issue(t, "k", now.Add(time.Minute)), now)
	if err != nil || claims.User != "ada" {
		t.Errorf("got %+v, %v", claims, err)
	}
}

func TestRefusedTokens(t *testing.T) {
	good := issue(t, "k", now.Add(time.Minute))
	tests := map[string]struct {
		token string
		want  error
	}{
		"no dot":          {"abc", ErrMalformed},
		"not base64":      {"abc.§", ErrMalformed},
		"other key":       {issue(t, "other", now.Add(time.Minute)), ErrSignature},
		"changed claims":  {"x" + good, ErrSignature},
		"expired":         {issue(t, "k", now), ErrExpired},
		"empty signature": {"abc.", ErrSignature},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := NewSigner([]byte("k")).Verify(test.token, now); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
