// Sending one request and taking its stamps.

package llmeval

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// idleTimeout is shorter than the 5 seconds after which uvicorn (vLLM) closes an idle connection: a request must not
	// meet a connection that is just being closed.
	idleTimeout = 4 * time.Second
	// Connections are opened this long before T0, and those that no request has taken are closed this long after it.
	warmLead = time.Second
	warmKeep = 2 * time.Second
	// dialTimeout bounds a connection attempt ahead of T0; later ones are bounded by the request's timeout.
	dialTimeout = 500 * time.Millisecond
)

// client sends requests over connections that all workers share. Proxies, compression, redirects, HTTP/2 and retries of
// a request that has been written are off: each of them would hide or shift what is measured.
type client struct {
	spec      *Spec
	transport *http.Transport
	dialer    net.Dialer
	address   string

	mutex sync.Mutex
	warm  []net.Conn
	// socketErrors counts failures whose cause lies on this side: no more files, ports or buffers.
	socketErrors atomic.Int64
}

// warmConnection is a connection that was opened ahead of T0: its first request does not pay for it.
type warmConnection struct{ net.Conn }

func newClient(spec *Spec) *client {
	c := &client{spec: spec}
	// The spec has been checked: the URL parses.
	target, _ := url.Parse(spec.Target.URL)
	c.address = target.Host
	if target.Port() == "" {
		c.address = net.JoinHostPort(target.Hostname(), map[string]string{"http": "80", "https": "443"}[target.Scheme])
	}
	c.transport = &http.Transport{
		DialContext:         c.dial,
		MaxIdleConnsPerHost: spec.mostInFlight(),
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
		ReadBufferSize:      readSize,
		WriteBufferSize:     readSize,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	return c
}

func (c *client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mutex.Lock()
	if last := len(c.warm) - 1; last >= 0 {
		connection := c.warm[last]
		c.warm = c.warm[:last]
		c.mutex.Unlock()
		return warmConnection{connection}, nil
	}
	c.mutex.Unlock()
	return c.dialer.DialContext(ctx, network, address)
}

// openConnections opens up to count connections at once. A failure is not an error: the requests will tell.
func (c *client) openConnections(ctx context.Context, count int) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var group sync.WaitGroup
	for range count {
		group.Go(func() {
			connection, err := c.dialer.DialContext(ctx, "tcp", c.address)
			if err != nil {
				return
			}
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.warm = append(c.warm, connection)
		})
	}
	group.Wait()
}

// closeUnused closes the connections that were opened ahead and not taken. One that idles for long may be stale.
func (c *client) closeUnused() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, connection := range c.warm {
		_ = connection.Close()
	}
	c.warm = nil
}

// messages returns what a request asks: the messages of its session so far, and its own.
func (c *client) messages(request *scheduled, history []message) []message {
	if c.spec.Prompts.Kind == promptsFile {
		line := c.spec.line(request)
		if len(line.Messages) > 0 {
			return line.Messages
		}
		return []message{{Role: "user", Content: line.Prompt}}
	}
	own := message{Role: "user", Content: prompt(c.spec.Seed, &c.spec.Prompts, request)}
	return append(slices.Clip(history), own)
}

// build makes the request. Everything that can be done before the send is done here.
func (c *client) build(id string, messages []message, outputTokens int) (*http.Request, error) {
	body := map[string]any{
		"model":      c.spec.Target.Model,
		"max_tokens": outputTokens,
		// With end-of-sequence ignored every response has the length that was asked for.
		"ignore_eos":  true,
		"temperature": 0,
		"stream":      c.spec.Target.Stream,
	}
	if c.spec.Target.Stream {
		body["stream_options"] = map[string]any{"include_usage": true}
	}
	if c.spec.Target.API == "chat" {
		body["messages"] = messages
	} else {
		body["prompt"] = messages[len(messages)-1].Content
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	made, err := http.NewRequest(http.MethodPost, c.spec.Target.URL, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	made.Header.Set("Content-Type", "application/json")
	made.Header.Set("User-Agent", "llmeval-load/"+version)
	for name, value := range c.spec.Target.Headers {
		made.Header.Set(name, value)
	}
	made.Header.Set("X-Request-Id", id)
	return made, nil
}

// send sends the request at once and fills in the row. It returns the time of the send.
func (c *client) send(parent context.Context, made *http.Request, r *row) time.Time {
	var connected time.Time
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		connected = time.Now()
		_, warm := info.Conn.(warmConnection)
		r.ConnectionReused = info.Reused || warm
	}}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(parent, trace), seconds(c.spec.RequestTimeoutSeconds))
	defer cancel()
	made = made.WithContext(ctx)

	sent := time.Now()
	response, err := c.transport.RoundTrip(made)
	headers := time.Since(sent)

	if !connected.IsZero() && !r.ConnectionReused {
		connect := connected.Sub(sent).Nanoseconds()
		r.ConnectNs = &connect
	}
	if err != nil {
		r.DoneNs = nanoseconds(&headers)
		r.E2ENs = r.DoneNs
		if isOwnSocketError(err) {
			c.socketErrors.Add(1)
		}
		r.fail(failure(parent, ctx, statusConnectionError), err.Error())
		return sent
	}
	r.HeadersNs = nanoseconds(&headers)
	r.HTTPStatus = &response.StatusCode
	taken, err := record(response.Body, sent)
	ended := time.Since(sent)
	_ = response.Body.Close()
	r.ResponseBytes = len(taken.body)
	c.judge(parent, ctx, r, response, taken, err)
	if r.DoneNs == nil {
		r.DoneNs = nanoseconds(&ended)
		r.E2ENs = r.DoneNs
	}
	return sent
}

// judge parses the response and decides the row's status.
func (c *client) judge(parent, ctx context.Context, r *row, response *http.Response, taken recording, readErr error) {
	if response.StatusCode != http.StatusOK {
		r.fail(statusHTTPError, strings.TrimSuffix(response.Status+": "+strings.TrimSpace(excerpt(taken.body)), ": "))
		return
	}
	var result outcome
	if c.spec.Target.Stream {
		if kind := response.Header.Get("Content-Type"); readErr == nil && !strings.HasPrefix(kind, "text/event-stream") {
			r.fail(statusParseError, "content type "+kind+" in place of text/event-stream: "+excerpt(taken.body))
			return
		}
		result = parseStream(taken)
	} else if readErr == nil {
		result = parseWhole(taken)
	}
	r.take(result)
	switch {
	case result.status != "" && !isCut(result):
		r.fail(result.status, result.problem)
	case result.done != nil:
		// What happens to the connection after the end of the stream is no failure of the request.
		r.Status = statusOK
	case errors.Is(readErr, errTooLarge):
		r.fail(statusParseError, readErr.Error())
	case readErr != nil && c.spec.Target.Stream:
		r.fail(failure(parent, ctx, statusStreamError), "cut stream: "+readErr.Error())
	case readErr != nil:
		r.fail(failure(parent, ctx, statusStreamError), "cut response: "+readErr.Error())
	default:
		r.fail(result.status, result.problem)
	}
}

// isCut says that the only complaint is the missing end, which the error of the read explains better.
func isCut(result outcome) bool {
	return result.done == nil && strings.HasPrefix(result.problem, "cut stream")
}

// failure names the class of an error: the run's end and the request's own timeout come before what they caused.
func failure(parent, ctx context.Context, otherwise string) string {
	switch {
	case parent.Err() != nil:
		return statusAborted
	case ctx.Err() != nil:
		return statusTimeout
	default:
		return otherwise
	}
}

// isOwnSocketError says that this machine could not open or use a socket; the target has no part in it.
func isOwnSocketError(err error) bool {
	return slices.ContainsFunc(
		[]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM},
		func(number syscall.Errno) bool { return errors.Is(err, number) })
}
