package llmeval

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// closed makes the spec's cell a closed loop.
func closed(spec *Spec, concurrency int) *Cell {
	cell := &spec.Cells[0]
	cell.ID, cell.RatePerSecond, cell.Arrivals, cell.Concurrency = fmt.Sprintf("concurrency-%d", concurrency), 0, "", concurrency
	return cell
}

func inOrderOfTime(rows []row) []row {
	slices.SortFunc(rows, func(a, b row) int { return int(*a.ScheduledUnixNs - *b.ScheduledUnixNs) })
	return rows
}

// Each worker sends when its last request has ended, up to the end of the cell; two cells follow each other.
func TestClosedLoop(t *testing.T) {
	spec := serve(t, &stub{firstToken: 30 * time.Millisecond, next: 10 * time.Millisecond, tokens: 3})
	first := *closed(spec, 2)
	second := first
	second.ID, second.StartOffsetSeconds, second.Concurrency = "concurrency-4", 0.6, 4
	// The order of the list does not matter.
	spec.Cells = []Cell{second, first}
	rows, report := run(t, spec)
	t0 := int64(*report.T0UnixNs)

	perCell, ids := map[string]int{}, map[string]bool{}
	free := map[string]int64{}
	for i, r := range inOrderOfTime(rows) {
		perCell[r.Cell]++
		ids[r.RequestID] = true
		start := t0
		if r.Cell == second.ID {
			start += 6e8
		}
		at := int64(*r.ScheduledUnixNs) - start
		wantPhase := "before"
		if at < 1e8 {
			wantPhase = "warm-up"
		}
		worker := fmt.Sprintf("%s %d", r.Cell, *r.Worker)
		if previous, known := free[worker]; known && int64(*r.ScheduledUnixNs) != previous {
			t.Errorf("row %d: due at %d, but its worker was free at %d", i, *r.ScheduledUnixNs, previous)
		}
		free[worker] = int64(*r.SentUnixNs) + *r.DoneNs
		if at < 0 || at >= 5e8 || r.Phase != wantPhase || r.Status != statusOK || *r.LagNs < 0 || int64(*r.SentUnixNs) != int64(*r.ScheduledUnixNs)+*r.LagNs {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	// 50 ms each: at most 10 per worker, fewer on a busy machine.
	if perCell[first.ID] < 4 || perCell[first.ID] > 20 || perCell[second.ID] < 8 || perCell[second.ID] > 40 || len(ids) != len(rows) {
		t.Errorf("rows per cell %v, %d ids for %d rows", perCell, len(ids), len(rows))
	}
	if want := (requestCounts{Scheduled: len(rows), Sent: len(rows), OK: len(rows)}); report.Requests != want || report.Aborted || report.Workers != 4 {
		t.Errorf("report %+v", report)
	}
}

// A target that refuses at once is not asked thousands of times.
func TestClosedLoopRestsAfterFailures(t *testing.T) {
	spec := serve(t, &stub{respond: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 503) }})
	closed(spec, 3).DurationSeconds = 1.2
	rows, report := run(t, spec)
	// Sent at 0, 0.5 and 1.0 s, a little later each time.
	if want := (requestCounts{Scheduled: len(rows), Sent: len(rows), Failed: len(rows)}); report.Requests != want || len(rows) < 6 || len(rows) > 9 || report.Aborted {
		t.Errorf("%d rows, report %+v", len(rows), report)
	}
}

// The turns of a session follow each other, each with the answers before it.
func TestMultiTurn(t *testing.T) {
	endpoint := &stub{firstToken: 20 * time.Millisecond, tokens: 2}
	spec := serve(t, endpoint)
	spec.Prompts = Prompts{Kind: promptsMultiTurn, Turns: 3, ThinkSeconds: 0.05}
	spec.Cells[0].RatePerSecond = 10 // 5 sessions, the last ones begin too late for all their turns
	rows, report := run(t, spec)

	sessions := map[string][]row{}
	for _, r := range inOrderOfTime(rows) {
		sessions[*r.Session] = append(sessions[*r.Session], r)
	}
	full := 0
	for id, turns := range sessions {
		if turns[0].RequestID != id {
			t.Errorf("session %s begins with %s", id, turns[0].RequestID)
		}
		var history []message
		for i, r := range turns {
			if *r.Turn != i+1 || r.Status != statusOK || int64(*r.ScheduledUnixNs) >= int64(*report.T0UnixNs)+5e8 || (r.ExpectedPromptTokens != nil) != (i == 0) {
				t.Errorf("turn %d: %+v", i+1, r)
			}
			if i > 0 {
				before := turns[i-1]
				if want := int64(*before.SentUnixNs) + *before.DoneNs + 5e7; int64(*r.ScheduledUnixNs) != want || r.RequestID != fmt.Sprintf("%s-turn-%d", id, i+1) {
					t.Errorf("turn %d of %s, %s: due at %d, want %d", i+1, id, r.RequestID, *r.ScheduledUnixNs, want)
				}
			}
			var body struct{ Messages []message }
			if err := json.Unmarshal(endpoint.bodies[r.RequestID], &body); err != nil {
				t.Fatal(err)
			}
			last := len(body.Messages) - 1
			if !slices.Equal(body.Messages[:last], history) || body.Messages[last].Role != "user" || len(strings.Fields(body.Messages[last].Content)) != 6 {
				t.Errorf("turn %d asks %+v after %+v", i+1, body.Messages, history)
			}
			history = append(body.Messages, message{Role: "assistant", Content: "aa"})
		}
		if len(turns) == 3 {
			full++
		}
	}
	if len(sessions) != 5 || full < 1 || full == 5 {
		t.Errorf("%d sessions, %d of them with all turns", len(sessions), full)
	}
	if report.Requests.Scheduled != len(rows) || report.Requests.OK != len(rows) || report.Aborted {
		t.Errorf("%d rows, report %+v", len(rows), report)
	}
}

// A failed turn ends its session.
func TestMultiTurnEndsWithAFailure(t *testing.T) {
	var mutex sync.Mutex
	endpoint := &stub{tokens: 1}
	endpoint.respond = func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		if strings.HasSuffix(r.Header.Get("X-Request-Id"), "-turn-2") {
			http.Error(w, "no", 500)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, delta(`"content":"a"`)+finish+done)
	}
	spec := serve(t, endpoint)
	spec.Prompts = Prompts{Kind: promptsMultiTurn, Turns: 9}
	spec.Cells[0].RatePerSecond, spec.Cells[0].DurationSeconds = 2, 1
	rows, report := run(t, spec)
	got := map[int]string{}
	for _, r := range rows {
		got[*r.Turn] += r.Status + " "
	}
	if want := map[int]string{1: "ok ok ", 2: "http_error http_error "}; !reflect.DeepEqual(got, want) || report.Requests.Scheduled != 4 {
		t.Errorf("got %v, report %+v", got, report)
	}
}

// A prompt file is asked line by line, over and over.
func TestPromptFile(t *testing.T) {
	endpoint := &stub{tokens: 1}
	spec := serve(t, endpoint)
	spec.Prompts = Prompts{Kind: promptsFile, File: write(t, "prompts.jsonl", `{"prompt":"One?"}`+"\n"+`{"messages":[{"role":"user","content":"Two?"}],"outputTokens":9}`)}
	var err error
	if spec.lines, err = readPrompts(spec.Prompts.File, "chat"); err != nil {
		t.Fatal(err)
	}
	rows, _ := run(t, spec)
	for i, r := range rows {
		want, tokens := "One?", 5
		if i%2 == 1 {
			want, tokens = "Two?", 9
		}
		asked := fmt.Sprintf(`"max_tokens":%d,"messages":[{"content":"%s","role":"user"}]`, tokens, want)
		if body := string(endpoint.bodies[r.RequestID]); !strings.Contains(body, asked) || r.ExpectedPromptTokens != nil || r.ExpectedOutputTokens != tokens {
			t.Errorf("row %d: %s, expected output tokens %d", i, body, r.ExpectedOutputTokens)
		}
	}
}

// Nothing but failures for long enough ends the run, and says so.
func TestDeadEngine(t *testing.T) {
	spec := serve(t, &stub{respond: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", 503) }})
	spec.StopAfterDeadSeconds, spec.Cells[0].DurationSeconds = 0.175, 2
	rows, report := run(t, spec)
	since := time.Unix(0, int64(*report.T0UnixNs)).UTC().Format("2006-01-02T15:04:05.000Z")
	want := "^the engine is dead: no request has succeeded since " + regexp.QuoteMeta(since) +
		`, \d have failed within 0\.\d s \(stopAfterDeadSeconds 0\.175\); last error: http_error: 503 Service Unavailable: gone$`
	if !report.Aborted || !regexp.MustCompile(want).MatchString(*report.AbortReason) {
		t.Errorf("aborted %v: %s", report.Aborted, *report.AbortReason)
	}
	sent := 0
	for _, r := range rows {
		if r.SentUnixNs != nil {
			sent++
		} else if *r.Error != "not sent: "+*report.AbortReason {
			t.Errorf("row %+v", r)
		}
	}
	if len(rows) != 40 || sent < 2 || sent > 39 || report.Requests.Scheduled != 40 {
		t.Errorf("%d rows, %d sent", len(rows), sent)
	}
}

func TestDeadWatch(t *testing.T) {
	start := time.Unix(1790000000, 0)
	note := func(watch *deadWatch, seconds float64, status string) string {
		problem := "x"
		return watch.note(&row{Status: status, Error: &problem, ended: start.Add(time.Duration(seconds * 1e9))})
	}
	watch := &deadWatch{limit: 10 * time.Second, since: start}
	for _, step := range []struct {
		seconds float64
		status  string
	}{{5, statusTimeout}, {14, statusHTTPError}, {15, statusOK}, {300, statusTimeout}, {309, statusTimeout}, {400, statusAborted}} {
		if got := note(watch, step.seconds, step.status); got != "" {
			t.Errorf("%+v: %s", step, got)
		}
	}
	want := "the engine is dead: no request has succeeded since 2026-09-21T14:13:35.000Z, 3 have failed within 10.0 s (stopAfterDeadSeconds 10); last error: timeout: x"
	if got := note(watch, 310, statusTimeout); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	never := &deadWatch{since: start}
	if note(never, 1, statusTimeout); note(never, 1e6, statusTimeout) != "" {
		t.Error("a watch without a limit calls the engine dead")
	}
}
