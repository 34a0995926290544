// Command http-client gets BASE/file, posts it to BASE/hash and prints a JSON object of what it saw.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	base := flag.String("base", "http://127.0.0.1:8080", "where the proxy is")
	way := flag.String("way", "h1", "h1, h2 (by ALPN) or h2c (prior knowledge)")
	authority := flag.String("ca", "", "PEM file with the authority to believe")
	flag.Parse()
	if err := run(*base, *way, *authority); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(base, way, authority string) error {
	client, err := newClient(way, authority)
	if err != nil {
		return err
	}
	got, content, err := read(client.Get(base + "/file"))
	if err != nil {
		return err
	}
	_, said, err := read(client.Post(base+"/hash", "application/octet-stream", bytes.NewReader(content)))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	version := map[string]string{"HTTP/1.1": "1.1", "HTTP/2.0": "2"}[got.Proto]
	return json.NewEncoder(os.Stdout).Encode(map[string]string{"version": version, "file": hex.EncodeToString(sum[:]), "hash": string(said)})
}

func newClient(way, authority string) (*http.Client, error) {
	roots := x509.NewCertPool()
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(pem)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(way == "h1")
	protocols.SetHTTP2(way == "h2")
	protocols.SetUnencryptedHTTP2(way == "h2c")
	transport := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

func read(response *http.Response, err error) (*http.Response, []byte, error) {
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("answered %s", response.Status)
	}
	content, err := io.ReadAll(response.Body)
	return response, content, err
}
