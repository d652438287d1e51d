package hub

import (
	"net"
	"strconv"
	"strings"
)

// EventHubConnectionString returns the Event Hubs-compatible connection string of an
// event hub of that name, "" being the built-in one, for clients of Event Hubs over
// TLS. Its key is that of the policy "service". It is empty while nothing listens
// for AMQP, and when there is no such event hub.
func (s *Server) EventHubConnectionString(name string) string {
	return s.eventHubConnectionString(AMQP, name, "")
}

// EventHubEmulatorConnectionString is [Server.EventHubConnectionString] for clients
// in the development mode of Event Hubs, which is without TLS. It is empty while
// nothing listens for AMQP without TLS.
func (s *Server) EventHubEmulatorConnectionString(name string) string {
	return s.eventHubConnectionString(AMQPPlain, name, ";UseDevelopmentEmulator=true")
}

func (s *Server) eventHubConnectionString(p Protocol, name, options string) string {
	s.mu.Lock()
	addr := s.addrs[p]
	s.mu.Unlock()
	if addr == nil {
		return ""
	}
	if name == "" {
		name = s.hub.BuiltIn().Name()
	}
	e, err := s.hub.EventHub(name)
	if err != nil {
		return ""
	}
	host := s.opts.HostNames[0]
	_, port, _ := net.SplitHostPort(addr.String()) // a listener's own
	switch {
	case port != strconv.Itoa(p.Port()) || p == AMQPPlain:
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	for _, policy := range s.hub.Policies() {
		if policy.Name == "service" {
			return "Endpoint=sb://" + host + "/;SharedAccessKeyName=" + policy.Name + ";SharedAccessKey=" + policy.PrimaryKey +
				";EntityPath=" + e.Name() + options
		}
	}
	return ""
}
