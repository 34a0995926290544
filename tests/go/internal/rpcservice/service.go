// Package rpcservice is the net/rpc service that stands behind the proxy in tests.
package rpcservice

import (
	"errors"
	"net/rpc"
	"time"
)

// Name is what the service is registered as.
const Name = "Fixture"

// longest bounds Sleep.
const longest = time.Minute

// Fixture holds the methods. Their arguments and answers are plain so that every client can call them.
type Fixture struct{ name string }

// New makes a server whose only service is Fixture; name is the answer of Fixture.Name.
func New(name string) (*rpc.Server, error) {
	server := rpc.NewServer()
	return server, server.RegisterName(Name, &Fixture{name: name})
}

// Name answers the name of the instance.
func (f *Fixture) Name(_ struct{}, answer *string) error {
	*answer = f.name
	return nil
}

// Echo answers what it got.
func (f *Fixture) Echo(bytes []byte, answer *[]byte) error {
	*answer = bytes
	return nil
}

// Sleep answers the name of the instance after that many milliseconds.
func (f *Fixture) Sleep(milliseconds int, answer *string) error {
	pause := time.Duration(milliseconds) * time.Millisecond
	if pause < 0 || pause > longest {
		return errors.New("a pause is 0 to 60000 milliseconds")
	}
	time.Sleep(pause)
	*answer = f.name
	return nil
}
