package service

import (
	"flag"
	"time"
)

// Options are the flags that every service takes.
type Options struct {
	Listen      string
	Name        string
	Certificate string
	Key         string
	IdleTimeout time.Duration
	Grace       time.Duration
}

// Flags registers the options on set; they are valid after set has been parsed.
func Flags(set *flag.FlagSet, service string) *Options {
	options := &Options{}
	set.StringVar(&options.Listen, "listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	set.StringVar(&options.Name, "name", service+"-1", "name of this instance, sent as X-Instance")
	set.StringVar(&options.Certificate, "tls-cert", "", "PEM file with the certificate chain; empty for clear text")
	set.StringVar(&options.Key, "tls-key", "", "PEM file with the private key")
	set.DurationVar(&options.IdleTimeout, "idle-timeout", time.Minute, "close a kept connection after this long without a request")
	set.DurationVar(&options.Grace, "grace", 10*time.Second, "after SIGTERM, wait this long for running requests")
	return options
}
