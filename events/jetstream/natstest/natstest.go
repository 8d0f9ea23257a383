// Package natstest starts NATS servers with JetStream inside a test: no program to install, no
// fixed port, gone at the end. Tests that only use a server ask for its Address, and so run on a real one where its URL
// is in the environment.
package natstest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Variable is the environment variable that may hold the URL of a real server.
const Variable = "STRUNK_NATS_URL"

const (
	// startTimeout bounds how long a server may take to answer.
	startTimeout = 2 * time.Minute
	// removeTimeout bounds how long a stream may take to be deleted.
	removeTimeout = 10 * time.Second
)

// Server is one server. It keeps its port and its files when it is started again.
type Server struct {
	t    testing.TB
	opts *server.Options
	s    *server.Server
}

// Address returns where a server with JetStream listens: the real one of [Variable], or where that is empty one that is
// started for this test. Give streams a name of [Stream] there.
func Address(t testing.TB) string {
	t.Helper()
	if real := os.Getenv(Variable); real != "" {
		return real
	}
	return Start(t).URL()
}

// Own starts a server that the test may stop. Where [Variable] names a real server, the test is skipped.
func Own(t testing.TB) *Server {
	t.Helper()
	if os.Getenv(Variable) != "" {
		t.Skipf("the test stops its server, which is not for that of %s", Variable)
	}
	return Start(t)
}

// Stream returns a name that no other test uses, for a stream and for the first token of its subjects. The stream of
// this name is deleted at the end of the test.
func Stream(t testing.TB, js jetstream.JetStream) string {
	t.Helper()
	name := "strunk-test-" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
		defer cancel()
		_ = js.DeleteStream(ctx, name) // not every test has made it, and not every server still runs
	})
	return name
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
		nats.ReconnectJitter(0, 0), nats.Timeout(time.Minute)}, opts...)
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
