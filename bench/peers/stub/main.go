// A stand-in for an LLM server that knows what it did: it streams tokens at a fixed pace and writes down, for every
// request, when it had read it and when it handed each chunk to the kernel. A client's figures can be held against that.
//
//	stub --port 18200 --ttft 200ms --itl 50ms
//
// GET /truth gives one JSON line per request that has ended since the last time, and forgets them: nothing is written
// while a load runs.

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// record is the truth about one request. Times are nanoseconds since 1970, all from one monotonic clock.
type record struct {
	// ID is the request's x-request-id; empty when the client sent none.
	ID   string `json:"id"`
	Path string `json:"path"`
	// ReceivedNs: the whole request had been read.
	ReceivedNs int64 `json:"receivedNs"`
	// SentNs: right before each write that carries a token. No client can have seen it earlier.
	SentNs []int64 `json:"sentNs"`
	// OutputTokens is what the request asked for. Fewer sentNs than that: the client went away.
	OutputTokens int `json:"outputTokens"`
	PromptTokens int `json:"promptTokens"`
}

// server streams tokens and keeps the truth.
type server struct {
	ttft, itl time.Duration
	// started is the one wall-clock reading; every stamp is that plus monotonic time.
	started time.Time

	mutex   sync.Mutex
	records []*record
}

func newServer(ttft, itl time.Duration) *server {
	return &server{ttft: ttft, itl: itl, started: time.Now()}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /truth", s.truth)
	mux.HandleFunc("GET /v1/models", models)
	mux.HandleFunc("POST /v1/chat/completions", s.complete)
	mux.HandleFunc("POST /v1/completions", s.complete)
	return mux
}

func (s *server) stamp() int64 {
	return s.started.UnixNano() + int64(time.Since(s.started))
}

func (s *server) keep(r *record) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.records = append(s.records, r)
}

func (s *server) truth(w http.ResponseWriter, _ *http.Request) {
	s.mutex.Lock()
	records := s.records
	s.records = nil
	s.mutex.Unlock()
	w.Header().Set("Content-Type", "application/jsonl")
	encoder := json.NewEncoder(w)
	for _, r := range records {
		if encoder.Encode(r) != nil {
			return
		}
	}
}

func models(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","created":0,"owned_by":"stub","max_model_len":32768}]}`, modelName)
}

func main() {
	port := flag.Int("port", 18200, "port on 127.0.0.1")
	ttft := flag.Duration("ttft", 200*time.Millisecond, "from the request to the first token")
	itl := flag.Duration("itl", 50*time.Millisecond, "between tokens")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal((&http.Server{Handler: newServer(*ttft, *itl).handler()}).Serve(listener))
}
