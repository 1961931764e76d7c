package llmeval

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stub is an endpoint that knows when it sent what: the truth that the rows are held against.
type stub struct {
	// respond sends the response. Without it the stub streams tokens.
	respond          func(http.ResponseWriter, *http.Request)
	firstToken, next time.Duration
	tokens           int

	mutex  sync.Mutex
	writes map[string][]time.Time
	bodies map[string][]byte
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get("X-Request-Id")
	s.mutex.Lock()
	s.bodies[id] = body
	s.mutex.Unlock()
	if s.respond != nil {
		s.respond(w, r)
		return
	}
	s.stream(w, id)
}

func (s *stub) stream(w http.ResponseWriter, id string) {
	var writes []time.Time
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.(http.Flusher).Flush()
	send := func(text string) {
		_, _ = io.WriteString(w, text)
		w.(http.Flusher).Flush()
	}
	for i := range s.tokens {
		if i == 0 {
			time.Sleep(s.firstToken)
		} else {
			time.Sleep(s.next)
		}
		writes = append(writes, time.Now())
		send(delta(`"content":"a"`))
	}
	s.mutex.Lock()
	s.writes[id] = writes
	s.mutex.Unlock()
	send(finish + fmt.Sprintf(`data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":%d}}`, s.tokens) + "\n\n" + done)
}

// serve starts the stub and returns a spec of one cell against it: 10 requests over 0.5 s.
func serve(t *testing.T, s *stub) *Spec {
	t.Helper()
	s.writes, s.bodies = map[string][]time.Time{}, map[string][]byte{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	return &Spec{
		SchemaVersion: 1, ExperimentID: "smoke-r1-3f9ac2", Prompts: Prompts{Kind: promptsRandom}, Seed: 1, Workers: 8, SpawnRatePerSecond: 1000,
		RequestTimeoutSeconds: 5, T0TimeoutSeconds: 5, TimelineFile: filepath.Join(dir, "timeline.json"), OutputDir: filepath.Join(dir, "load"),
		Target: Target{URL: server.URL + "/v1/chat/completions", Model: "m", API: "chat", Stream: true, Headers: map[string]string{"X-Team": "a"}},
		Cells: []Cell{{ID: "rate-20", DurationSeconds: 0.5, RatePerSecond: 20, Arrivals: "constant", PromptTokens: fixedLength(6), OutputTokens: fixedLength(5),
			Phases: []Phase{{Name: "warm-up", DurationSeconds: 0.1}, {Name: "before", StartOffsetSeconds: 0.1, DurationSeconds: 0.4}}}},
	}
}

func makePlayer(t *testing.T, spec *Spec) *player {
	t.Helper()
	if problems := spec.problems(); len(problems) > 0 {
		t.Fatal(problems)
	}
	return playerOf(spec)
}

func writeTimeline(t *testing.T, spec *Spec, t0 time.Time) {
	t.Helper()
	text := fmt.Sprintf(`{"schemaVersion":1,"t0UnixNs":"%d"}`, t0.UnixNano())
	if err := os.WriteFile(spec.TimelineFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// playAll does what k6 does with each of the two executors: calls that the workers share, or one call per worker.
func playAll(ctx context.Context, p *player) {
	var group sync.WaitGroup
	executor, iterations := p.executor()
	if executor == "per-vu-iterations" {
		iterations = p.workers()
	}
	calls := make(chan struct{}, iterations)
	for range iterations {
		calls <- struct{}{}
	}
	close(calls)
	for worker := range p.workers() {
		group.Go(func() {
			for range calls {
				if ctx.Err() != nil {
					return
				}
				p.play(ctx, worker)
			}
		})
	}
	group.Wait()
}

// run plays a spec from its start to its end, T0 in 0.3 s.
func run(t *testing.T, spec *Spec) ([]row, loadReport) {
	t.Helper()
	p := makePlayer(t, spec)
	writeTimeline(t, spec, time.Now().Add(300*time.Millisecond))
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	playAll(t.Context(), p)
	if err := p.finish(); err != nil {
		t.Fatal(err)
	}
	return readRows(t, spec), readReport(t, spec)
}

func readRows(t *testing.T, spec *Spec) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(spec.OutputDir, requestsFile))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.RequestID, b.RequestID) })
	return rows
}

func readReport(t *testing.T, spec *Spec) loadReport {
	t.Helper()
	var report loadReport
	text, err := os.ReadFile(filepath.Join(spec.OutputDir, loadFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func TestPlayAgainstKnownTimes(t *testing.T) {
	endpoint := &stub{firstToken: 50 * time.Millisecond, next: 10 * time.Millisecond, tokens: 5}
	spec := serve(t, endpoint)
	rows, report := run(t, spec)

	if len(rows) != 10 {
		t.Fatalf("%d rows, want 10", len(rows))
	}
	var errorsOfStamps []time.Duration
	for i, r := range rows {
		wantPhase := "before"
		if i < 2 {
			wantPhase = "warm-up"
		}
		if r.RequestID != fmt.Sprintf("smoke-r1-3f9ac2-%06d", i) || r.Cell != "rate-20" || r.Phase != wantPhase || r.Status != statusOK || r.Error != nil ||
			*r.HTTPStatus != 200 || *r.PromptTokens != 11 || *r.OutputTokens != 5 || *r.FinishReason != "length" ||
			!reflect.DeepEqual(r.ChunkTokens, []int{1, 1, 1, 1, 1}) || len(r.ITLNs) != 4 || r.ResponseBytes == 0 {
			t.Errorf("row %d: %+v", i, r)
		}
		if want := int64(*report.T0UnixNs) + int64(i)*50e6; int64(*r.ScheduledUnixNs) != want || int64(*r.SentUnixNs) != want+*r.LagNs || *r.LagNs < 0 {
			t.Errorf("row %d: scheduled %d, sent %d, lag %d; want scheduled %d", i, *r.ScheduledUnixNs, *r.SentUnixNs, *r.LagNs, want)
		}
		writes := endpoint.writes[r.RequestID]
		offset := *r.FirstTokenNs
		for j, at := range writes {
			if j > 0 {
				offset += r.ITLNs[j-1]
			}
			errorsOfStamps = append(errorsOfStamps, time.Duration(offset-(at.UnixNano()-int64(*r.SentUnixNs))))
		}
		if *r.TTFTNs != *r.FirstTokenNs || offset != *r.LastTokenNs || *r.TPOTNs != (*r.LastTokenNs-*r.FirstTokenNs)/4 ||
			*r.E2ENs != *r.DoneNs || *r.DoneNs < *r.LastTokenNs || *r.HeadersNs > *r.FirstTokenNs || *r.FirstChunkNs != *r.FirstTokenNs {
			t.Errorf("row %d: stamps do not agree: %+v", i, r)
		}
	}
	if !rows[0].ConnectionReused || rows[0].ConnectNs != nil {
		t.Errorf("the first request paid for its connection: %+v", rows[0])
	}
	slices.Sort(errorsOfStamps)
	middle, largest := errorsOfStamps[len(errorsOfStamps)/2], errorsOfStamps[len(errorsOfStamps)-1]
	t.Logf("stamp - send of the stub: median %v, largest %v; lag %+v ns", middle, largest, *report.LagNs)
	// Generous: this is no test of the machine's speed, but a stamp can never precede what it stamps.
	if errorsOfStamps[0] < -time.Millisecond || middle > 20*time.Millisecond {
		t.Errorf("stamps are off by %v to %v, median %v", errorsOfStamps[0], largest, middle)
	}

	if want := (requestCounts{Scheduled: 10, Sent: 10, OK: 10}); report.Requests != want || report.Aborted || report.AbortReason != nil ||
		report.ExperimentID != spec.ExperimentID || report.SchemaVersion != 1 || report.CPUSeconds <= 0 || len(report.ScheduleSha256) != 64 {
		t.Errorf("report %+v", report)
	}
	var progress progressReport
	text, _ := os.ReadFile(filepath.Join(spec.OutputDir, progressFile))
	if err := json.Unmarshal(text, &progress); err != nil {
		t.Fatal(err)
	}
	if *progress.EndsUnixNs != *report.T0UnixNs+5e8 || progress.Scheduled != 10 || progress.Sent != 10 || progress.Completed != 10 || progress.Failed != 0 {
		t.Errorf("progress %s", text)
	}
	if _, err := os.Stat(filepath.Join(spec.OutputDir, readyFile)); err != nil {
		t.Error(err)
	}

	want := `{"ignore_eos":true,"max_tokens":5,"messages":[{"content":"` + prompt(1, &spec.Prompts, &scheduled{cell: &spec.Cells[0], indexInCell: 3, promptTokens: 6}) +
		`","role":"user"}],"model":"m","stream":true,"stream_options":{"include_usage":true},"temperature":0}`
	if got := string(endpoint.bodies["smoke-r1-3f9ac2-000003"]); got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}

	// The same experiment again, as a re-created pod would: it has been played.
	if !makePlayer(t, spec).played {
		t.Error("a second process would play again")
	}
}

func TestFailuresAreRows(t *testing.T) {
	streamHead := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, delta(`"content":"a"`))
		w.(http.Flusher).Flush()
	}
	for name, test := range map[string]struct {
		respond                func(http.ResponseWriter, *http.Request)
		status, error          string
		httpStatus, firstToken bool
	}{
		"http error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "overloaded", 503) },
			statusHTTPError, "503 Service Unavailable: overloaded", true, false},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 302) },
			statusHTTPError, "302 Found", true, false},
		"no stream": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
			statusParseError, "content type text/plain; charset=utf-8 in place of text/event-stream: hello", true, false},
		"cut connection": {func(w http.ResponseWriter, _ *http.Request) { streamHead(w); panic(http.ErrAbortHandler) },
			statusStreamError, "cut stream: unexpected EOF", true, true},
		"end without DONE": {func(w http.ResponseWriter, _ *http.Request) { streamHead(w) },
			statusStreamError, "cut stream: no [DONE] after 78 bytes", true, true},
		"error item": {func(w http.ResponseWriter, _ *http.Request) {
			streamHead(w)
			_, _ = io.WriteString(w, `data: {"error":{"message":"gone"}}`+"\n\n")
		}, statusStreamError, `error item: {"error":{"message":"gone"}}`, true, true},
		"connection closed": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			statusConnectionError, "EOF", false, false},
		"timeout before the head": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			statusTimeout, "context deadline exceeded", false, false},
		"timeout in the stream": {func(w http.ResponseWriter, r *http.Request) { streamHead(w); <-r.Context().Done() },
			statusTimeout, "cut stream: context deadline exceeded", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := serve(t, &stub{respond: test.respond})
			spec.Cells[0].DurationSeconds = 0.05
			spec.RequestTimeoutSeconds = 1
			rows, report := run(t, spec)
			if len(rows) != 1 {
				t.Fatalf("%d rows, want 1", len(rows))
			}
			r := rows[0]
			if r.Status != test.status || r.Error == nil || *r.Error != test.error {
				t.Errorf("status %s, error %q; want %s, %q", r.Status, *r.Error, test.status, test.error)
			}
			if (r.HTTPStatus != nil) != test.httpStatus || (r.FirstTokenNs != nil) != test.firstToken || r.DoneNs == nil || *r.E2ENs != *r.DoneNs ||
				r.SentUnixNs == nil || r.LagNs == nil {
				t.Errorf("row %+v", r)
			}
			if want := (requestCounts{Scheduled: 1, Sent: 1, Failed: 1}); report.Requests != want || report.Aborted {
				t.Errorf("report %+v: a failed request is no aborted run", report)
			}
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	spec := serve(t, &stub{})
	spec.Target.URL = "http://127.0.0.1:1/v1/chat/completions"
	rows, report := run(t, spec)
	for _, r := range rows {
		if r.Status != statusConnectionError || *r.Error != "dial tcp 127.0.0.1:1: connect: connection refused" || r.HTTPStatus != nil {
			t.Errorf("row %+v", r)
		}
	}
	if want := (requestCounts{Scheduled: 10, Sent: 10, Failed: 10}); report.Requests != want || report.Aborted {
		t.Errorf("report %+v", report)
	}
}

// With one worker and slow responses every request but the first is late; none is dropped.
func TestLateRequestsAreSent(t *testing.T) {
	spec := serve(t, &stub{firstToken: 100 * time.Millisecond, tokens: 1})
	spec.Workers = 1
	rows, report := run(t, spec)
	if want := (requestCounts{Scheduled: 10, Sent: 10, OK: 10}); report.Requests != want || report.Aborted {
		t.Fatalf("report %+v", report)
	}
	for i, r := range rows {
		if atLeast := int64(i) * 50e6; *r.LagNs < atLeast-1e6 {
			t.Errorf("row %d: lag %d ns, want at least %d", i, *r.LagNs, atLeast)
		}
	}
}

func TestWholeResponsesAndCompletions(t *testing.T) {
	endpoint := &stub{respond: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"choices":[{"text":"a b","finish_reason":"length"}],"usage":{"prompt_tokens":6,"completion_tokens":5}}`)
	}}
	spec := serve(t, endpoint)
	spec.Target.API, spec.Target.Stream = "completions", false
	rows, _ := run(t, spec)
	r := rows[0]
	if r.Status != statusOK || r.TTFTNs != nil || r.TPOTNs != nil || *r.OutputTokens != 5 || r.DoneNs == nil {
		t.Errorf("row %+v", r)
	}
	want := `{"ignore_eos":true,"max_tokens":5,"model":"m","prompt":"` + prompt(1, &spec.Prompts, &scheduled{cell: &spec.Cells[0], promptTokens: 6}) + `","stream":false,"temperature":0}`
	if got := string(endpoint.bodies[r.RequestID]); got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
}

// An abort in the middle: every scheduled request has its row, sent or not.
func TestAbort(t *testing.T) {
	spec := serve(t, &stub{respond: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, delta(`"content":"a"`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}})
	p := makePlayer(t, spec)
	writeTimeline(t, spec, time.Now().Add(100*time.Millisecond))
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { p.cancel(errors.New("signal: terminated")) })
	playAll(t.Context(), p)
	if err := p.finish(); err != nil {
		t.Fatal(err)
	}
	rows, report := readRows(t, spec), readReport(t, spec)
	unsent := 0
	for _, r := range rows {
		if r.Status != statusAborted || r.Error == nil {
			t.Errorf("row %+v", r)
		}
		if r.SentUnixNs == nil {
			unsent++
			if *r.Error != "not sent: signal: terminated" || r.ScheduledUnixNs == nil || r.DoneNs != nil {
				t.Errorf("row %+v", r)
			}
		} else if *r.Error != "cut stream: signal: terminated" || r.FirstTokenNs == nil {
			t.Errorf("row %+v, error %s", r, *r.Error)
		}
	}
	if len(rows) != 10 || unsent == 0 || unsent == 10 {
		t.Errorf("%d rows, %d not sent", len(rows), unsent)
	}
	if want := (requestCounts{Scheduled: 10, Sent: 10 - unsent, Failed: 10}); report.Requests != want || !report.Aborted || *report.AbortReason != "signal: terminated" {
		t.Errorf("report %+v", report)
	}
	if makePlayer(t, spec).played {
		t.Error("an aborted run counts as played")
	}
}

func TestNoT0(t *testing.T) {
	spec := serve(t, &stub{})
	spec.T0TimeoutSeconds = 0.2
	p := makePlayer(t, spec)
	want := "no T0 within t0TimeoutSeconds (0.2): " + spec.TimelineFile + " has not appeared; see the gate Job"
	if err := p.prepare(t.Context()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	rows, report := readRows(t, spec), readReport(t, spec)
	if len(rows) != 10 || rows[0].ScheduledUnixNs != nil || *rows[0].Error != "not sent: "+want {
		t.Errorf("%d rows, first %+v", len(rows), rows[0])
	}
	if report.T0UnixNs != nil || report.LagNs != nil || !report.Aborted || *report.AbortReason != want {
		t.Errorf("report %+v", report)
	}
}

// A process that replaces a killed one after T0 plays what is still to come, and says what it missed.
func TestReplacedAfterT0(t *testing.T) {
	spec := serve(t, &stub{tokens: 1})
	spec.Cells[0].DurationSeconds = 3
	spec.Cells[0].RatePerSecond = 2
	if err := os.MkdirAll(spec.OutputDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(spec.OutputDir, requestsFile), []byte("first attempt"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := makePlayer(t, spec)
	writeTimeline(t, spec, time.Now().Add(-1750*time.Millisecond))
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	playAll(t.Context(), p)
	if err := p.finish(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range readRows(t, spec) {
		got = append(got, r.Status)
	}
	if want := []string{"aborted", "aborted", "ok", "ok", "ok", "ok"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	report := readReport(t, spec)
	if want := "the load generator was ready 1.8 s after T0"; !report.Aborted || *report.AbortReason != want {
		t.Errorf("report %+v", report)
	}
	if text, _ := os.ReadFile(filepath.Join(spec.OutputDir, requestsFile+".attempt-1")); string(text) != "first attempt" {
		t.Errorf("the first attempt's rows: %q", text)
	}
}
