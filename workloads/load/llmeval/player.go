// The player: waits for T0, plays the schedule with all workers, and leaves the files behind.

package llmeval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	version = "0.1.0"

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

	// ctx ends when the run is aborted; its cause is the reason.
	ctx    context.Context
	cancel context.CancelCauseFunc

	log    *rowLog
	t0     atomic.Pointer[time.Time]
	ready  time.Time
	next   atomic.Int64
	sent   atomic.Int64
	active sync.WaitGroup
	// interrupted says that k6 stopped a worker.
	interrupted atomic.Bool
	finished    sync.Once
}

// newPlayer reads the spec and computes the schedule. It touches no file but the spec.
func newPlayer(file string) (*player, error) {
	spec, err := readSpec(file)
	if err != nil {
		return nil, err
	}
	p := &player{spec: spec, started: time.Now(), played: hasPlayed(spec), client: newClient(spec)}
	p.requests = schedule(spec)
	p.sha256 = scheduleSha256(p.requests)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p, nil
}

// workers is the number of virtual users: k6 takes no more of them than there are iterations.
func (p *player) workers() int {
	return min(p.spec.Workers, len(p.requests))
}

// longestPlay bounds the time from the gate's file to the last row: a target that lets every request time out makes each
// worker late by one timeout per request.
func (p *player) longestPlay() time.Duration {
	rounds := math.Ceil(float64(len(p.requests)) / float64(p.workers()))
	return longestLead + endOffset(p.spec) + time.Duration(rounds)*seconds(p.spec.RequestTimeoutSeconds) + time.Minute
}

// prepare opens the files, says that it is ready and returns shortly before T0. On an error the run is over and the
// files are complete.
func (p *player) prepare(ctx context.Context) error {
	if err := os.MkdirAll(p.spec.OutputDir, 0o755); err != nil {
		return err
	}
	if err := setAside(p.spec.OutputDir); err != nil {
		return err
	}
	log, err := openRowLog(p.path(requestsFile), len(p.requests), p.tick)
	if err != nil {
		return err
	}
	p.log = log
	p.watchSignals()
	err = p.awaitT0(ctx)
	if err != nil {
		p.cancel(err)
		return errors.Join(err, p.finish())
	}
	return nil
}

func (p *player) awaitT0(ctx context.Context) error {
	ready := readyReport{SchemaVersion: schemaVersion, PID: os.Getpid(), Requests: len(p.requests), ScheduleSha256: p.sha256}
	if err := writeJSON(p.path(readyFile), ready); err != nil {
		return err
	}
	deadline := time.Now().Add(seconds(p.spec.T0TimeoutSeconds))
	for {
		t0, found, err := readT0(p.spec.TimelineFile)
		if err != nil {
			return err
		}
		if found {
			p.start(ctx, t0)
			return p.stopCause(ctx)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no T0 within t0TimeoutSeconds (%v): %s has not appeared; see the gate Job",
				p.spec.T0TimeoutSeconds, p.spec.TimelineFile)
		}
		select {
		case <-time.After(timelinePoll):
		case <-ctx.Done():
			return p.stopCause(ctx)
		case <-p.ctx.Done():
			return p.stopCause(ctx)
		}
	}
}

// start fixes T0 on the monotonic clock, so that a step of the wall clock moves nothing, and opens the connections.
func (p *player) start(ctx context.Context, wall time.Time) {
	p.ready = time.Now()
	t0 := p.ready.Add(wall.Sub(p.ready))
	p.t0.Store(&t0)
	if p.ready.After(t0) || !sleepUntil(ctx, t0.Add(-warmLead)) {
		return
	}
	p.client.openConnections(ctx, p.workers())
	time.AfterFunc(time.Until(t0)+warmKeep, p.client.closeUnused)
}

func (p *player) stopCause(ctx context.Context) error {
	if ctx.Err() != nil {
		p.interrupted.Store(true)
	}
	if reason := p.abortReason(); reason != "" {
		return errors.New(reason)
	}
	return nil
}

// watchSignals ends the run on the first signal. k6 does the same on its own; this one knows the signal's name.
func (p *player) watchSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		defer signal.Stop(signals)
		select {
		case received := <-signals:
			p.cancel(fmt.Errorf("signal: %v", received))
		case <-p.ctx.Done():
		}
	}()
}

// play takes the next request of the schedule, waits until it is due and sends it. A request that is late is sent at
// once. It returns when the request has its row.
func (p *player) play(stop context.Context, worker int) {
	p.active.Add(1)
	defer p.active.Done()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(stop, func() {
		p.interrupted.Store(true)
		cancel()
	})()

	t0 := *p.t0.Load()
	if p.spec.SpawnRatePerSecond > 0 && !sleepUntil(ctx, t0.Add(seconds(float64(worker)/p.spec.SpawnRatePerSecond))) {
		return // finish writes the row
	}
	index := p.next.Add(1) - 1
	if index >= int64(len(p.requests)) {
		return
	}
	request := &p.requests[index]
	due := t0.Add(request.at)
	r := p.row(request)
	r.Worker = &worker
	defer func() { p.log.rows <- r }()
	made, err := p.client.build(request)
	if err != nil {
		r.fail(statusParseError, "request: "+err.Error())
		return
	}
	if p.missed(due) {
		r.fail(statusAborted, "not sent: "+p.missedReason())
		return
	}
	if !sleepUntil(ctx, due) {
		r.fail(statusAborted, "not sent: "+p.abortReason())
		return
	}
	p.sent.Add(1)
	sent := p.client.send(ctx, made, r)
	lag := sent.Sub(due).Nanoseconds()
	r.LagNs = &lag
	// One wall anchor, the monotonic clock for the rest: due carries T0's wall time.
	r.SentUnixNs = unixNs(due.Add(time.Duration(lag)))
}

func (p *player) missed(due time.Time) bool {
	return p.ready.Sub(due) > lateStart
}

func (p *player) missedReason() string {
	return fmt.Sprintf("the load generator was ready %.1f s after T0", p.ready.Sub(*p.t0.Load()).Seconds())
}

func (p *player) row(request *scheduled) *row {
	r := newRow(p.spec.ExperimentID, request)
	if t0 := p.t0.Load(); t0 != nil {
		r.ScheduledUnixNs = unixNs(t0.Add(request.at))
	}
	return r
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

// finish writes a row for every request that has none, and the report. It may be called more than once.
func (p *player) finish() error {
	var result error
	p.finished.Do(func() { result = p.end() })
	return result
}

func (p *player) end() error {
	remaining := p.next.Swap(int64(len(p.requests)))
	reason := p.abortReason()
	if remaining < int64(len(p.requests)) && reason == "" {
		reason = "k6 ended before every request was taken"
	}
	if t0 := p.t0.Load(); reason == "" && t0 != nil && p.missed(t0.Add(p.requests[0].at)) {
		reason = p.missedReason()
	}
	// Whatever still runs ends now.
	p.cancel(errors.New("the run has ended"))
	p.active.Wait()
	for ; remaining < int64(len(p.requests)); remaining++ {
		r := p.row(&p.requests[remaining])
		r.fail(statusAborted, "not sent: "+reason)
		p.log.rows <- r
	}
	logErr := p.log.close()
	if logErr != nil {
		reason = strings.TrimPrefix(reason+"; "+requestsFile+": "+logErr.Error(), "; ")
	}
	if reason == "" && p.log.aborted > 0 {
		reason = "k6 ended before every request had its response"
	}
	p.client.closeUnused()
	p.client.transport.CloseIdleConnections()
	report := loadReport{
		SchemaVersion:  schemaVersion,
		ExperimentID:   p.spec.ExperimentID,
		LoadGenerator:  fmt.Sprintf("k6 %s + llmeval extension %s", k6Version(), version),
		StartedUnixNs:  unixNs(p.started),
		EndedUnixNs:    unixNs(time.Now()),
		ScheduleSha256: p.sha256,
		Requests: requestCounts{
			Scheduled: len(p.requests), Sent: int(p.sent.Load()), OK: p.log.ok, Failed: p.log.failed,
		},
		LagNs:      lagStatistics(p.log.lags),
		CPUSeconds: cpuSeconds(),
		GoMaxProcs: runtime.GOMAXPROCS(0),
		Workers:    p.workers(),
	}
	if t0 := p.t0.Load(); t0 != nil {
		report.T0UnixNs = unixNs(*t0)
	}
	if reason != "" {
		report.Aborted, report.AbortReason = true, &reason
	}
	return errors.Join(logErr, writeJSON(p.path(loadFile), report))
}

// tick reports progress. A failure to do so is none of the run.
func (p *player) tick(log *rowLog) {
	report := progressReport{
		Scheduled: len(p.requests), Sent: int(p.sent.Load()), Completed: log.ok, Failed: log.failed,
	}
	if t0 := p.t0.Load(); t0 != nil {
		report.EndsUnixNs = unixNs(t0.Add(endOffset(p.spec)))
	}
	_ = writeJSON(p.path(progressFile), report)
}

func (p *player) path(name string) string {
	return filepath.Join(p.spec.OutputDir, name)
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func k6Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "go.k6.io/k6/v2" {
				return strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return "unknown"
}
