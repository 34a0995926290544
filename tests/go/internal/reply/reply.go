// Package reply writes JSON answers in the one shape that all services share.
package reply

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Problem is the body of every answer that reports an error.
type Problem struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

// JSON answers with status and value. The body is encoded before the first byte is sent, so its length is known.
func JSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// The client may have left; there is nobody to tell.
	_, _ = w.Write(body)
}

// Error answers with status and a Problem.
func Error(w http.ResponseWriter, status int, code, message string) {
	JSON(w, status, Problem{Error: code, Message: message})
}
