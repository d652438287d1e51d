// Package amqpfront is the AMQP 1.0 head of the hub: it turns connections,
// sessions and links into operations of package core and their outcome back into
// frames. It decides nothing about identities and messages, and never sees the
// storage.
//
// A connection is one goroutine that reads, one for each link, and one that writes
// while there is something to write, so that a client that does not read holds up
// nobody else; it is cut off when more than a bound waits for it. What a client may
// make the hub hold before and after it has proved who it is, is bounded by the
// constants in limits.go.
//
// # Nodes
//
// What is at an address is a node. To add one, write a function and a row in the
// table of routes (node.go):
//
//	{pattern: "messages/devicebound", client: sends, need: core.ServiceConnect, open: openDeviceBound},
//
// The pattern is matched with the address of the link, of which scheme, host and
// outer slashes have been taken off, word by word: fixed words whatever their case,
// and * for any word, which the node finds unescaped in link.path. Before the node
// hears of a link, the engine has checked that a token on this connection has the
// right "need" and reaches the address, and it sees to it that this stays so: when
// the token runs out and no newer one does, the link is detached. A node with
// another notion of who may come in leaves need at 0, sets public, and calls
// link.authorize itself.
//
// The function is called when a client attaches the link. It must not block. It
// may look at link.request, and may change link.answer, which is a copy of the
// request as the answer to it: a source filter, for example, is accepted by
// putting it into link.answer.Source.Filter. It returns what serves the link, or an
// error, which the client gets as a link that is refused.
//
// What serves a link runs on a goroutine of the link's own and ends when its
// context does. When it returns an error before that, the link is detached with it.
// There are two kinds:
//
//   - A link on which the client sends: call link.receive with a function that is
//     called with one delivery after the other. Each has to be settled, once, by
//     delivery.settle, from whatever goroutine and in whatever order; until then it
//     counts against link.window, the credit that the client is given.
//   - A link on which the hub sends: call link.send with a function that gives the
//     next message. It is called when there is credit, and waits until there is a
//     message or its context ends; what is there at once has to be given even when
//     the context has ended. That is how a drain is answered: the context ends, and
//     the rest of the credit is given back. outgoing.settled is called once for each
//     message, with the state that the client gave it or with the zero state when
//     the link has ended first, and returns the state to answer with.
//
// Requests with answers (as $cbs and $management have) are served by serveRequests
// on the sending link and idle on the receiving one: the answer goes to the link
// that the request names, or to the client's receiver at that node.
//
// Errors that nodes return or reject with are *core.Error or *amqp.Error; amqpError
// is the table from one to the other.
package amqpfront
