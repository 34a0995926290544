// Package rpcclient calls a net/rpc service over many connections and reports who answered.
package rpcclient

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"sync"
	"time"
)

// Plan says what to do.
type Plan struct {
	Address     string
	Path        string
	TLS         *tls.Config // nil for clear text, where the library dials itself
	Connections int
	Calls       int // of all connections together
	Concurrency int // connections that are opened or call at one time
	Echo        int // each call also sends and compares that many bytes
	Sleep       time.Duration
	Timeout     time.Duration // for opening and for each call
}

// Report is what one round has shown. Errors have the library's own text.
type Report struct {
	Opened      int            `json:"opened"`
	Calls       int            `json:"calls"`
	Failures    int            `json:"failures"`
	Servers     map[string]int `json:"servers"`     // calls answered by each instance
	Connections map[string]int `json:"connections"` // connections on which it answered first
	Errors      map[string]int `json:"errors"`
}

// Fleet are the connections that could be opened.
type Fleet struct {
	plan    Plan
	clients []*rpc.Client
	failed  map[string]int
}

// Open opens all connections.
func Open(plan Plan) *Fleet {
	fleet := &Fleet{plan: plan, failed: map[string]int{}}
	var lock sync.Mutex
	each(plan.Connections, plan.Concurrency, func(int) {
		client, err := dial(plan)
		lock.Lock()
		defer lock.Unlock()
		if err != nil {
			fleet.failed[err.Error()]++
			return
		}
		fleet.clients = append(fleet.clients, client)
	})
	return fleet
}

// Close ends all connections.
func (f *Fleet) Close() {
	for _, client := range f.clients {
		client.Close()
	}
}

// Round makes the calls of the plan, each connection its share. What could not be opened counts as failures of the
// first round.
func (f *Fleet) Round() Report {
	report := Report{Opened: len(f.clients), Servers: map[string]int{}, Connections: map[string]int{}, Errors: map[string]int{}}
	for text, count := range f.failed {
		report.Errors[text] += count
		report.Failures += count
	}
	f.failed = nil
	var lock sync.Mutex
	each(len(f.clients), f.plan.Concurrency, func(number int) {
		for call := range share(f.plan.Calls, f.plan.Connections, number) {
			name, err := f.call(f.clients[number])
			lock.Lock()
			report.add(name, err, call == 0)
			lock.Unlock()
		}
	})
	return report
}

func (r *Report) add(name string, err error, first bool) {
	if err != nil {
		r.Failures++
		r.Errors[err.Error()]++
		return
	}
	r.Calls++
	r.Servers[name]++
	if first {
		r.Connections[name]++
	}
}

func (f *Fleet) call(client *rpc.Client) (string, error) {
	var name string
	if err := within(f.plan.Timeout, client, "Fixture.Sleep", int(f.plan.Sleep.Milliseconds()), &name); err != nil {
		return "", err
	}
	if f.plan.Echo > 0 {
		sent, got := bytes.Repeat([]byte{'e'}, f.plan.Echo), []byte(nil)
		if err := within(f.plan.Timeout, client, "Fixture.Echo", sent, &got); err != nil {
			return "", err
		}
		if !bytes.Equal(sent, got) {
			return "", errors.New("the echo is another one")
		}
	}
	return name, nil
}

// within is client.Call with a limit, which the library lacks.
func within(limit time.Duration, client *rpc.Client, method string, arguments, answer any) error {
	call := client.Go(method, arguments, answer, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-time.After(limit):
		return fmt.Errorf("no answer within %s", limit)
	}
}

// dial opens one connection. The library's function has no limit either; what it leaves behind ends with the process.
func dial(plan Plan) (*rpc.Client, error) {
	type result struct {
		client *rpc.Client
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var opened result
		if plan.TLS == nil {
			opened.client, opened.err = rpc.DialHTTPPath("tcp", plan.Address, plan.Path)
		} else {
			opened.client, opened.err = dialTLS(plan)
		}
		done <- opened
	}()
	select {
	case opened := <-done:
		return opened.client, opened.err
	case <-time.After(plan.Timeout):
		return nil, fmt.Errorf("no connection within %s", plan.Timeout)
	}
}

// dialTLS is what people write who need TLS: the same lines as in rpc.DialHTTPPath, over crypto/tls.
func dialTLS(plan Plan) (*rpc.Client, error) {
	connection, err := tls.Dial("tcp", plan.Address, plan.TLS)
	if err != nil {
		return nil, err
	}
	io.WriteString(connection, "CONNECT "+plan.Path+" HTTP/1.0\n\n")
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: "CONNECT"})
	if err == nil && response.Status == "200 Connected to Go RPC" {
		return rpc.NewClient(connection), nil
	}
	if err == nil {
		err = errors.New("unexpected HTTP response: " + response.Status)
	}
	connection.Close()
	return nil, &net.OpError{Op: "dial-http", Net: "tls " + plan.Address, Err: err}
}

// share is how many of all calls the connection with that number makes.
func share(calls, connections, number int) int {
	count := calls / connections
	if number < calls%connections {
		count++
	}
	return count
}

// each runs work for 0 to count, at most so many at one time.
func each(count, concurrency int, work func(int)) {
	var group sync.WaitGroup
	places := make(chan struct{}, concurrency)
	for number := range count {
		places <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			defer func() { <-places }()
			work(number)
		}()
	}
	group.Wait()
}
