// Package token signs short claims with HMAC-SHA256.
//
// A token is base64url(claims) "." base64url(signature), both without padding.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Why a token is refused.
var (
	ErrMalformed = errors.New("token is malformed")
	ErrSignature = errors.New("token was not signed with this key")
	ErrExpired   = errors.New("token has expired")
)

// Claims is what a token says.
type Claims struct {
	User    string `json:"user"`
	Expires int64  `json:"exp"` // seconds since 1970
}

// Signer issues and verifies tokens with one key.
type Signer struct {
	key []byte
}

// NewSigner returns a signer for key.
func NewSigner(key []byte) Signer {
	return Signer{key: key}
}

// Issue returns the signed form of claims.
func (s Signer) Issue(claims Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.sign(text)), nil
}

// Verify returns the claims of a token that this key signed and that has not expired at now.
func (s Signer) Verify(token string, now time.Time) (Claims, error) {
	text, signature, found := strings.Cut(token, ".")
	if !found {
		return Claims{}, ErrMalformed
	}
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return Claims{}, ErrMalformed
	}
	// The signature comes first: nothing unsigned is parsed.
	if !hmac.Equal(given, s.sign(text)) {
		return Claims{}, ErrSignature
	}
	payload, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Claims{}, ErrMalformed
	}
	var claims Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Claims{}, ErrMalformed
	}
	if now.Unix() >= claims.Expires {
		return Claims{}, ErrExpired
	}
	return claims, nil
}

func (s Signer) sign(text string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
