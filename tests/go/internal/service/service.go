// Package service runs one HTTP service: it listens, says where, and stops gracefully.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// Main runs handler until SIGTERM or SIGINT and returns the process's exit status.
func Main(options *Options, handler http.Handler) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := Run(ctx, options, handler, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", options.Name, err)
		return 1
	}
	return 0
}

// Run serves handler until ctx ends, then finishes what runs, for at most options.Grace.
// It prints "listening ADDR" to announce once the address accepts connections.
func Run(ctx context.Context, options *Options, handler http.Handler, announce io.Writer) error {
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return err
	}
	var stopping atomic.Bool
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	server := &http.Server{
		Handler:           common(options.Name, &stopping, streams, handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       options.IdleTimeout,
		Protocols:         protocols(),
	}

	served := make(chan error, 1)
	go func() { served <- serve(server, listener, options) }()
	fmt.Fprintf(announce, "listening %s\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopping.Store(true)
	endStreams()
	bounded, cancel := context.WithTimeout(context.Background(), options.Grace)
	defer cancel()
	return server.Shutdown(bounded)
}

func serve(server *http.Server, listener net.Listener, options *Options) error {
	serve := func() error { return server.Serve(listener) }
	if options.Certificate != "" {
		serve = func() error { return server.ServeTLS(listener, options.Certificate, options.Key) }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func protocols() *http.Protocols {
	var set http.Protocols
	set.SetHTTP1(true)
	set.SetHTTP2(true)
	set.SetUnencryptedHTTP2(true)
	return &set
}
