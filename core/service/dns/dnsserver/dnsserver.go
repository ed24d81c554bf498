// Package dnsserver serves a zone file on loopback by UDP and TCP, with real
// packets, for tests and for `carteiro demo`. It knows no recursion and no
// signatures: names that are not in the zones do not exist.
package dnsserver

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Server answers from its zones. It is safe for concurrent use.
type Server struct {
	Addr string // 127.0.0.1:port, the same for UDP and TCP

	mu      sync.Mutex
	records map[string][]dns.RR
	fail    map[string]int // name to response code
	asked   map[string]int
	udp     *dns.Server
	tcp     *dns.Server
	done    sync.WaitGroup
}

// Start serves text, in the format of RFC 1035 section 5, until Close.
func Start(text string) (*Server, error) {
	s := &Server{records: map[string][]dns.RR{}, fail: map[string]int{}, asked: map[string]int{}}
	if err := s.Add(text); err != nil {
		return nil, err
	}
	pc, ln, err := listenBoth()
	if err != nil {
		return nil, err
	}
	s.Addr = pc.LocalAddr().String()
	s.udp = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(s.answer)}
	s.tcp = &dns.Server{Listener: ln, Handler: dns.HandlerFunc(s.answer)}
	for _, srv := range []*dns.Server{s.udp, s.tcp} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		s.done.Go(func() { srv.ActivateAndServe() }) //nolint:errcheck // ends with Shutdown
		<-started
	}
	return s, nil
}

// listenBoth finds a port that is free for UDP and TCP.
func listenBoth() (net.PacketConn, net.Listener, error) {
	var last error
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, ln, nil
		}
		pc.Close()
		last = err
	}
	return nil, nil, last
}

// Add adds records to the zones.
func (s *Server) Add(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := dns.NewZoneParser(strings.NewReader(text), ".", "zone")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		s.records[name] = append(s.records[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("dnsserver: %w", err)
	}
	return nil
}

// Replace forgets all records of a name before it adds text.
func (s *Server) Replace(name, text string) error {
	s.mu.Lock()
	delete(s.records, dns.Fqdn(strings.ToLower(name)))
	s.mu.Unlock()
	return s.Add(text)
}

// Fail makes questions about a name fail: "SERVFAIL", "REFUSED", "" for no
// answer at all; "NOERROR" ends that.
func (s *Server) Fail(name, rcode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rcode == "NOERROR" {
		delete(s.fail, dns.Fqdn(strings.ToLower(name)))
		return
	}
	code, ok := dns.StringToRcode[rcode]
	if !ok {
		code = -1
	}
	s.fail[dns.Fqdn(strings.ToLower(name))] = code
}

// Asked returns how many questions about a name came.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[dns.Fqdn(strings.ToLower(name))]
}

// Close stops both servers and waits for them.
func (s *Server) Close() {
	s.udp.Shutdown()
	s.tcp.Shutdown()
	s.done.Wait()
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if !s.fill(m, q) {
		return
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

// fill puts the records into m; false means silence.
func (s *Server) fill(m, q *dns.Msg) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.ToLower(q.Question[0].Name)
	s.asked[name]++
	if code, ok := s.fail[name]; ok {
		m.Rcode = code
		return code >= 0
	}
	for range 8 { // a chain of CNAMEs
		rrs, ok := s.records[name]
		if !ok {
			m.Rcode = dns.RcodeNameError
			return true
		}
		next := ""
		for _, rr := range rrs {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(c.Target)
			}
		}
		if next == "" {
			return true
		}
		name = next
	}
	return true
}
