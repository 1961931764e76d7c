// Before T0: open the files, wait for the gate, open the connections.

package llmeval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// prepare opens the files, says that it is ready and returns shortly before T0. On an error the run is over and the
// files are complete.
func (p *player) prepare(ctx context.Context) error {
	if err := os.MkdirAll(p.spec.OutputDir, 0o755); err != nil {
		return err
	}
	if err := setAside(p.spec.OutputDir); err != nil {
		return err
	}
	log, err := openRowLog(p.path(requestsFile), len(p.requests)+unplannedRows, p.tick, p.cancel)
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

// beginning says what is sent where from T0 on.
func (p *player) beginning() string {
	requests := fmt.Sprintf("%d requests", len(p.requests))
	if p.spec.closedLoop() {
		requests = "requests of a closed loop"
	}
	const layout = "15:04:05.000Z"
	t0 := p.t0.Load().UTC()
	return fmt.Sprintf("T0 is %s: %s by %d workers to %s, until %s", t0.Format(layout), requests, p.workers(),
		p.spec.Target.URL, t0.Add(endOffset(p.spec)).Format(layout))
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
	p.dead.since = t0
	time.AfterFunc(time.Until(t0), func() { p.atT0.Store(takeReading()) })
	if p.levels != nil {
		go p.levels.run(p.ctx, t0)
	}
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
