// The search for saturation: each level is judged at the end of its cell, before the next cell begins.

package llmeval

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// warmUpPhase is played but not measured.
const warmUpPhase = "warm-up"

// levels is nil where no level is judged.
type levels struct {
	closedLoop bool
	inOrder    []*level
	of         map[*Cell]*level

	mutex     sync.Mutex
	saturated []saturatedCell
}

// saturatedCell is a cell whose level was more than the target can do, and how that showed.
type saturatedCell struct {
	Cell   string `json:"cell"`
	Reason string `json:"reason"`
}

// level is one cell under judgement.
type level struct {
	cell *Cell
	// due are the times of its scheduled requests, from T0, ascending.
	due []time.Duration
	// decided is closed when the cell may begin; waiting ends when it is skipped.
	decided chan struct{}
	waiting context.Context
	skip    context.CancelFunc

	// laterTurns have arrived too; ended counts all that have a result.
	laterTurns, ended atomic.Int64
	// measured counts the requests of measured phases that have ended, failed those that failed, completed those that
	// succeeded before the cell's end.
	measured, failed, completed atomic.Int64
}

// newLevels returns nil unless the spec asks for the search.
func newLevels(spec *Spec, requests []scheduled, order []int) *levels {
	if !spec.StopWhenSaturated {
		return nil
	}
	l := &levels{closedLoop: spec.closedLoop(), of: map[*Cell]*level{}}
	for _, index := range order {
		one := &level{cell: &spec.Cells[index], decided: make(chan struct{})}
		one.waiting, one.skip = context.WithCancel(context.Background())
		l.inOrder = append(l.inOrder, one)
		l.of[one.cell] = one
	}
	for _, request := range requests {
		one := l.of[request.cell]
		one.due = append(one.due, request.at)
	}
	return l
}

// await sleeps until a request is due and its cell may begin. It returns false when ctx ends or the cell is skipped.
func (l *levels) await(ctx context.Context, cell *Cell, due time.Time) bool {
	if l == nil {
		return sleepUntil(ctx, due)
	}
	one := l.of[cell]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(one.waiting, cancel)()
	if !sleepUntil(ctx, due) {
		return false
	}
	select {
	case <-one.decided:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *levels) isSkipped(cell *Cell) bool {
	return l != nil && l.of[cell].waiting.Err() != nil
}

// skippedCells are the ids of the cells that were not played, in order.
func (l *levels) skippedCells() []string {
	ids := []string{}
	if l != nil {
		for _, one := range l.inOrder {
			if l.isSkipped(one.cell) {
				ids = append(ids, one.cell.ID)
			}
		}
	}
	return ids
}

func (l *levels) saturatedCells() []saturatedCell {
	found := []saturatedCell{}
	if l != nil {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		found = append(found, l.saturated...)
	}
	return found
}

// begin takes a request that is about to be sent.
func (l *levels) begin(request *scheduled) {
	if l != nil && request.turn > 1 {
		l.of[request.cell].laterTurns.Add(1)
	}
}

// note takes a request that has ended.
func (l *levels) note(request *scheduled, r *row, inside bool) {
	if l == nil {
		return
	}
	one := l.of[request.cell]
	one.ended.Add(1)
	if request.phase == warmUpPhase {
		return
	}
	one.measured.Add(1)
	if r.Status != statusOK {
		one.failed.Add(1)
	} else if inside {
		one.completed.Add(1)
	}
}

// run judges the cells as they end, until ctx ends.
func (l *levels) run(ctx context.Context, t0 time.Time) {
	var before *level
	for _, one := range l.inOrder {
		if one.waiting.Err() != nil {
			continue
		}
		close(one.decided)
		start, measured, end := one.times()
		// The second half: the first may still be filling up.
		middle := measured + (end-measured)/2
		if !sleepUntil(ctx, t0.Add(middle)) {
			return
		}
		at := one.snapshot(middle)
		if !sleepUntil(ctx, t0.Add(end)) {
			return
		}
		reason := one.failing()
		if reason == "" && !l.closedLoop {
			reason = backlogReason(at, one.snapshot(end), end-middle)
		}
		if reason == "" && l.closedLoop && before != nil {
			reason = plateauReason(before, one)
		}
		if reason != "" {
			l.saturate(one, reason, start)
		}
		before = one
	}
}

func (l *levels) saturate(one *level, reason string, start time.Duration) {
	l.mutex.Lock()
	l.saturated = append(l.saturated, saturatedCell{Cell: one.cell.ID, Reason: reason})
	l.mutex.Unlock()
	for _, other := range l.inOrder {
		if seconds(other.cell.StartOffsetSeconds) > start && other.load() > one.load() {
			other.skip()
		}
	}
}

func (o *level) load() float64 {
	if o.cell.Concurrency > 0 {
		return float64(o.cell.Concurrency)
	}
	return max(o.cell.RatePerSecond, o.cell.RampToRatePerSecond)
}

// times of the cell, counted from T0: its start, the start of its measured phases, its end.
func (o *level) times() (start, measured, end time.Duration) {
	start = seconds(o.cell.StartOffsetSeconds)
	end = start + seconds(o.cell.DurationSeconds)
	measured = start
	for _, phase := range o.cell.Phases {
		if phase.Name == warmUpPhase {
			measured = max(measured, start+seconds(phase.StartOffsetSeconds)+seconds(phase.DurationSeconds))
		}
	}
	return start, measured, end
}
