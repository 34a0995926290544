// Command rpc-client calls rpc-server through rpc.DialHTTPPath and prints a JSON line for each round of calls.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net/rpc"
	"os"
	"time"

	"tidegate.example/fixtures/internal/rpcclient"
)

func main() {
	var plan rpcclient.Plan
	flag.StringVar(&plan.Address, "address", "127.0.0.1:8080", "where to connect")
	flag.StringVar(&plan.Path, "path", rpc.DefaultRPCPath, "path of the service")
	flag.IntVar(&plan.Connections, "connections", 1, "connections to open")
	flag.IntVar(&plan.Calls, "calls", 1, "calls of all connections together")
	flag.IntVar(&plan.Concurrency, "concurrency", 1, "connections that are opened or call at one time")
	flag.IntVar(&plan.Echo, "echo", 0, "each call also echoes that many bytes")
	flag.DurationVar(&plan.Sleep, "sleep", 0, "how long the server takes for each call")
	flag.DurationVar(&plan.Timeout, "timeout", 10*time.Second, "limit for opening a connection and for each call")
	authority := flag.String("ca", "", "PEM file with the certificate to believe; empty for clear text")
	step := flag.Bool("step", false, "print a line when all is open, then make one round for each line on standard input")
	flag.Parse()
	if err := run(plan, *authority, *step); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(plan rpcclient.Plan, authority string, step bool) error {
	if plan.Connections < 1 || plan.Concurrency < 1 {
		return fmt.Errorf("connections and concurrency are above 0")
	}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate in %s", authority)
		}
		plan.TLS = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	}
	fleet := rpcclient.Open(plan)
	defer fleet.Close()
	output := json.NewEncoder(os.Stdout)
	if !step {
		return output.Encode(fleet.Round())
	}
	fmt.Println("open")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := output.Encode(fleet.Round()); err != nil {
			return err
		}
	}
	return lines.Err()
}
