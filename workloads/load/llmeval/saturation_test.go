package llmeval

import (
	"testing"
	"time"
)

func TestBacklogReason(t *testing.T) {
	for name, test := range map[string]struct {
		middle, end snapshot
		want        string
	}{
		"served half of the rate":       {snapshot{24, 12}, snapshot{48, 24}, "the backlog grew from 12 to 24 requests in 6.0 s, in which 24 arrived"},
		"stable":                        {snapshot{24, 20}, snapshot{48, 21}, ""},
		"two requests more are none":    {snapshot{10, 0}, snapshot{14, 2}, ""},
		"within 10 % of what arrived":   {snapshot{1000, 10}, snapshot{2000, 110}, ""},
		"beyond 10 % of what arrived":   {snapshot{1000, 10}, snapshot{2000, 111}, "the backlog grew from 10 to 111 requests in 6.0 s, in which 1000 arrived"},
		"scatter of a large backlog":    {snapshot{100, 50}, snapshot{160, 69}, ""},
		"more than scatter":             {snapshot{100, 50}, snapshot{160, 71}, "the backlog grew from 50 to 71 requests in 6.0 s, in which 60 arrived"},
		"a backlog that is worked away": {snapshot{100, 50}, snapshot{160, 0}, ""},
	} {
		if got := backlogReason(test.middle, test.end, 6*time.Second); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func levelOf(concurrency int, completed, measured, failed int64) *level {
	one := &level{cell: &Cell{Concurrency: concurrency, DurationSeconds: 12, Phases: []Phase{{Name: "warm-up", DurationSeconds: 2}, {Name: "before", StartOffsetSeconds: 2, DurationSeconds: 10}}}}
	one.completed.Store(completed)
	one.measured.Store(measured)
	one.failed.Store(failed)
	return one
}

func TestPlateauAndFailures(t *testing.T) {
	// Twice the concurrency: less than a tenth of twice the throughput is none.
	if got, want := plateauReason(levelOf(8, 100, 0, 0), levelOf(16, 109, 0, 0)), "10.9 requests per second at concurrency 16, 10 at 8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, pair := range [][2]*level{
		{levelOf(8, 100, 0, 0), levelOf(16, 110, 0, 0)},
		// The first level of the next iteration.
		{levelOf(16, 100, 0, 0), levelOf(8, 60, 0, 0)},
		{levelOf(8, 0, 0, 0), levelOf(16, 0, 0, 0)},
	} {
		if got := plateauReason(pair[0], pair[1]); got != "" {
			t.Errorf("got %q", got)
		}
	}
	if got := levelOf(1, 0, 100, 10).failing(); got != "" {
		t.Errorf("got %q", got)
	}
	if got, want := levelOf(1, 0, 100, 11).failing(), "11 of 100 measured requests failed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := levelOf(1, 0, 0, 0).failing(); got != "" {
		t.Errorf("nothing has ended: %q", got)
	}
}
