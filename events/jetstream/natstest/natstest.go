// Package natstest starts NATS servers with JetStream inside a test: no program to install, no
// fixed port, gone at the end.
package natstest

import (
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout bounds how long a server may take to answer.
const startTimeout = 2 * time.Minute

// Server is one server. It keeps its port and its files when it is started again.
type Server struct {
	t    testing.TB
	opts *server.Options
	s    *server.Server
}

// Start starts a server. It ends with the test.
func Start(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true}
	for _, c := range change {
		c(opts)
	}
	s := &Server{t: t, opts: opts}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts a server that was stopped.
func (s *Server) Start() {
	s.t.Helper()
	running, err := server.NewServer(s.opts)
	if err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	running.Start()
	if !running.ReadyForConnections(startTimeout) {
		s.t.Fatal("natstest: the server does not answer")
	}
	s.s = running
	if addr, ok := running.Addr().(*net.TCPAddr); ok {
		s.opts.Port = addr.Port
	}
}

// Stop ends the server. It may be called again.
func (s *Server) Stop() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// URL returns where the server listens.
func (s *Server) URL() string { return s.s.ClientURL() }

// LeadsStream reports whether the server is the leader of a stream of a cluster.
func (s *Server) LeadsStream(stream string) bool {
	return s.s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// Connect returns a JetStream context that reconnects for as long as the test runs.
func Connect(t testing.TB, urls string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	opts = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(0, 0)}, opts...)
	nc, err := nats.Connect(urls, opts...)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	return js
}

// Cluster starts three servers that are one JetStream cluster, and returns them with the URLs of all.
func Cluster(t testing.TB) (servers []*Server, urls string) {
	t.Helper()
	const size = 3
	ports := freePorts(t, size)
	routes := make([]*url.URL, size)
	for i, port := range ports {
		routes[i] = &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", port)}
	}
	for i := range size {
		servers = append(servers, Start(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		}))
	}
	for i, s := range servers {
		if i > 0 {
			urls += ","
		}
		urls += s.URL()
	}
	awaitLeader(t, servers)
	return servers, urls
}

func awaitLeader(t testing.TB, servers []*Server) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, s := range servers {
			if s.s.JetStreamIsLeader() && len(s.s.JetStreamClusterPeers()) == len(servers) {
				return
			}
		}
	}
	t.Fatal("natstest: the cluster has no leader")
}

// freePorts returns ports that nothing listens on now: the members of a cluster must know each
// other's before they start.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
