// The player: the state that all workers share, and what k6 has to know of it.

package llmeval

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	version = "0.2.0"

	// unplannedRows may wait for the disk besides those of the schedule before a worker waits, too.
	unplannedRows = 1 << 16

	timelinePoll = 100 * time.Millisecond
	signalGrace  = 200 * time.Millisecond
	// lateStart is how late this process may become ready for a request and still send it. A process that replaces a
	// killed one after T0 would otherwise send everything that was due in the meantime at once.
	lateStart = time.Second
	// longestLead bounds the time between the gate's file and T0 in the limits that k6 gets.
	longestLead = 10 * time.Minute
)

// player plays one spec. One process has one player, shared by all virtual users of k6.
type player struct {
	spec     *Spec
	requests []scheduled
	sha256   string
	played   bool
	client   *client
	started  time.Time
	// order holds the indexes of the cells by their start; taken counts, per cell, the requests of a closed loop.
	order  []int
	taken  []atomic.Int64
	levels *levels
	dead   deadWatch

	// ctx ends when the run is aborted; its cause is the reason.
	ctx    context.Context
	cancel context.CancelCauseFunc

	log   *rowLog
	t0    atomic.Pointer[time.Time]
	atT0  atomic.Pointer[reading]
	ready time.Time
	next  atomic.Int64
	// made numbers the requests of a closed loop.
	made atomic.Int64
	// unplanned counts the requests that no schedule knows: those of closed loops, and later turns.
	unplanned atomic.Int64
	sent      atomic.Int64
	active    sync.WaitGroup
	// interrupted says that k6 stopped a worker.
	interrupted atomic.Bool
	finished    sync.Once
	// outcome is the report in words, once it is written.
	outcome string
}

// newPlayer reads the spec and computes the schedule. It touches no file but the spec.
func newPlayer(file string) (*player, error) {
	spec, err := readSpec(file)
	if err != nil {
		return nil, err
	}
	return playerOf(spec), nil
}

func playerOf(spec *Spec) *player {
	p := &player{spec: spec, started: time.Now(), played: hasPlayed(spec), client: newClient(spec)}
	p.requests = schedule(spec)
	p.sha256 = scheduleSha256(spec, p.requests)
	p.taken = make([]atomic.Int64, len(spec.Cells))
	for i := range spec.Cells {
		p.order = append(p.order, i)
	}
	slices.SortStableFunc(p.order, func(a, b int) int {
		return cmp.Compare(spec.Cells[a].StartOffsetSeconds, spec.Cells[b].StartOffsetSeconds)
	})
	p.levels = newLevels(spec, p.requests, p.order)
	p.dead.limit = seconds(spec.StopAfterDeadSeconds)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// workers is the number of virtual users: k6 takes no more of them than there are iterations.
func (p *player) workers() int {
	if p.spec.closedLoop() {
		return p.spec.mostInFlight()
	}
	return min(p.spec.Workers, len(p.requests))
}

// executor of k6 and its number of iterations: in an open loop the workers share one iteration per request of the
// schedule; in a closed loop each worker plays its part of all cells in one.
func (p *player) executor() (string, int) {
	if p.spec.closedLoop() {
		return "per-vu-iterations", 1
	}
	return "shared-iterations", len(p.requests)
}

// longestPlay bounds the time from the gate's file to the last row: a target that lets every request time out makes each
// worker late by one timeout per request. A worker of a closed loop, and a session's later turn, sends nothing after its
// cell's end: each is late by one timeout at most.
func (p *player) longestPlay() time.Duration {
	rounds := 1.0
	if !p.spec.closedLoop() {
		rounds += math.Ceil(float64(len(p.requests)) / float64(p.workers()))
	}
	return longestLead + endOffset(p.spec) + time.Duration(rounds)*seconds(p.spec.RequestTimeoutSeconds) + time.Minute
}

func (p *player) missed(due time.Time) bool {
	return p.ready.Sub(due) > lateStart
}

// firstDue is the time of the first request, from T0.
func (p *player) firstDue() time.Duration {
	if p.spec.closedLoop() {
		return startOffset(p.spec)
	}
	return p.requests[0].at
}

func (p *player) missedReason() string {
	return fmt.Sprintf("the load generator was ready %.1f s after T0", p.ready.Sub(*p.t0.Load()).Seconds())
}

// abortReason is empty for a run that is whole.
func (p *player) abortReason() string {
	if p.interrupted.Load() {
		// k6 and this process's own handler get a signal at the same time; the latter knows its name.
		select {
		case <-p.ctx.Done():
		case <-time.After(signalGrace):
		}
	}
	switch {
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx).Error()
	case p.interrupted.Load():
		return "k6 stopped the workers before the end"
	default:
		return ""
	}
}
