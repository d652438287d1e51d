package dps

import "net/http"

// TransportOf returns what sends the requests of c.
func TransportOf(c *Client) http.RoundTripper { return c.rest.Transport }
