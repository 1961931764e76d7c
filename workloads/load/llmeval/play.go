// Playing: the open loop follows the schedule, the closed loop the responses.

package llmeval

import (
	"context"
	"errors"
	"time"
)

// failureRest is how long a worker of a closed loop rests after a failure: a target that refuses at once would
// otherwise be asked thousands of times per second.
const failureRest = 500 * time.Millisecond

// play takes what is next and plays it: in an open loop one request, or session, of the schedule; in a closed loop all of
// the worker's part of all cells. It returns when everything has its row.
func (p *player) play(stop context.Context, worker int) {
	p.active.Add(1)
	defer p.active.Done()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(stop, func() {
		p.interrupted.Store(true)
		cancel()
	})()
	if p.spec.closedLoop() {
		p.playClosed(ctx, worker)
	} else {
		p.playOpen(ctx, worker)
	}
}

func (p *player) playOpen(ctx context.Context, worker int) {
	t0 := *p.t0.Load()
	if delay := p.spawnDelay(worker); p.spec.SpawnRatePerSecond > 0 && !sleepUntil(ctx, t0.Add(delay)) {
		return // finish writes the row
	}
	index := p.next.Add(1) - 1
	if index >= int64(len(p.requests)) {
		return
	}
	request := p.requests[index]
	p.converse(ctx, worker, request, t0.Add(request.at))
}

// playClosed sends the next request as soon as the last one has ended, from each cell's start to its end. What is in
// flight then runs to its end.
func (p *player) playClosed(ctx context.Context, worker int) {
	t0 := *p.t0.Load()
	free := p.ready
	for _, index := range p.order {
		cell := &p.spec.Cells[index]
		if worker >= cell.Concurrency {
			continue
		}
		start := t0.Add(seconds(cell.StartOffsetSeconds) + p.spawnDelay(worker))
		if start.After(free) {
			free = start
		}
		for end := p.cellEnd(cell); free.Before(end); {
			if !p.levels.await(ctx, cell, free) {
				break
			}
			request := newRequest(p.spec, cell, int(p.taken[index].Add(1)-1))
			request.index = int(p.made.Add(1) - 1)
			free = p.converse(ctx, worker, request, free)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// converse plays a request and, in a session, the turns after it. A session ends with its first failed turn, and with
// its cell: a turn that would be due later is none. It returns the time at which the worker is free.
func (p *player) converse(ctx context.Context, worker int, request scheduled, due time.Time) time.Time {
	var history []message
	t0, end := *p.t0.Load(), p.cellEnd(request.cell)
	for {
		if request.turn > 1 || p.spec.closedLoop() {
			p.unplanned.Add(1)
			request.at = due.Sub(t0)
			request.phase = phaseAt(request.cell, request.at-seconds(request.cell.StartOffsetSeconds))
		}
		r, asked := p.request(ctx, worker, &request, history, due)
		if r == nil {
			return due
		}
		if r.Status != statusOK {
			return r.ended.Add(failureRest)
		}
		if request.turn == 0 || request.turn == p.spec.Prompts.Turns {
			return r.ended
		}
		due = r.ended.Add(seconds(p.spec.Prompts.ThinkSeconds))
		if !due.Before(end) || ctx.Err() != nil {
			return due
		}
		history = append(asked, message{Role: "assistant", Content: r.answer})
		request = request.nextTurn(p.spec)
	}
}

// request waits until one request is due, sends it, and leaves its row. A request that is late is sent at once. It
// returns nil for a request whose cell is skipped, and the messages that were sent.
func (p *player) request(ctx context.Context, worker int, request *scheduled, history []message, due time.Time) (*row, []message) {
	if p.levels.isSkipped(request.cell) {
		return nil, nil
	}
	taken := time.Now()
	r := p.row(request)
	r.Worker = &worker
	asked := p.client.messages(request, history)
	notSent := func(status, problem string) (*row, []message) {
		r.fail(status, problem)
		r.ended = time.Now()
		p.log.rows <- r
		return r, asked
	}
	made, err := p.client.build(r.RequestID, asked, request.outputTokens)
	if err != nil {
		return notSent(statusParseError, "request: "+err.Error())
	}
	if p.missed(due) {
		return notSent(statusAborted, "not sent: "+p.missedReason())
	}
	if !p.levels.await(ctx, request.cell, due) {
		if p.levels.isSkipped(request.cell) {
			return nil, nil
		}
		return notSent(statusAborted, "not sent: "+p.abortReason())
	}
	p.levels.begin(request)
	p.sent.Add(1)
	sent := p.client.send(ctx, made, r)
	lag := sent.Sub(due)
	r.LagNs = nanoseconds(&lag)
	// One wall anchor, the monotonic clock for the rest: T0's wall time.
	r.SentUnixNs = unixNs(p.t0.Load().Add(request.at + lag))
	r.ended = sent.Add(time.Duration(*r.DoneNs))
	r.ownLag = lag
	if wait := taken.Sub(due); wait > 0 && request.turn <= 1 && !p.spec.closedLoop() {
		r.workerWait, r.ownLag = wait, lag-wait
	}
	p.levels.note(request, r, r.ended.Before(p.cellEnd(request.cell)))
	if reason := p.dead.note(r); reason != "" {
		p.cancel(errors.New(reason))
	}
	p.log.rows <- r
	return r, asked
}

func (p *player) spawnDelay(worker int) time.Duration {
	if p.spec.SpawnRatePerSecond == 0 {
		return 0
	}
	return seconds(float64(worker) / p.spec.SpawnRatePerSecond)
}

func (p *player) cellEnd(cell *Cell) time.Time {
	return p.t0.Load().Add(seconds(cell.StartOffsetSeconds) + seconds(cell.DurationSeconds))
}

func (p *player) row(request *scheduled) *row {
	r := newRow(p.spec, request)
	if t0 := p.t0.Load(); t0 != nil {
		r.ScheduledUnixNs = unixNs(t0.Add(request.at))
	}
	return r
}
