// After the last request: the rows that are missing, and the report.

package llmeval

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// finish writes a row for every request that has none, and the report. It may be called more than once.
func (p *player) finish() error {
	var result error
	p.finished.Do(func() { result = p.end() })
	return result
}

func (p *player) end() error {
	usedUpToEnd := takeReading()
	remaining := p.next.Swap(int64(len(p.requests)))
	reason := p.abortReason()
	if remaining < int64(len(p.requests)) && reason == "" {
		reason = "k6 ended before every request was taken"
	}
	if t0 := p.t0.Load(); reason == "" && t0 != nil && p.missed(t0.Add(p.firstDue())) {
		reason = p.missedReason()
	}
	// Whatever still runs ends now.
	p.cancel(errors.New("the run has ended"))
	p.active.Wait()
	for ; remaining < int64(len(p.requests)); remaining++ {
		if p.levels.isSkipped(p.requests[remaining].cell) {
			continue
		}
		r := p.row(&p.requests[remaining])
		r.fail(statusAborted, "not sent: "+reason)
		p.log.rows <- r
	}
	logErr := p.log.close()
	// One that came before the end is why the run was aborted.
	if logErr != nil && context.Cause(p.ctx) != logErr {
		reason = strings.TrimPrefix(reason+"; "+logErr.Error(), "; ")
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
			Scheduled: p.log.ok + p.log.failed, Sent: int(p.sent.Load()), OK: p.log.ok, Failed: p.log.failed,
		},
		SkippedCells:   p.levels.skippedCells(),
		SaturatedCells: p.levels.saturatedCells(),
		LagNs:          lagStatistics(p.log.lags),
		CPUSeconds:     cpuSeconds(),
		GoMaxProcs:     runtime.GOMAXPROCS(0),
		Workers:        p.workers(),
	}
	if t0 := p.t0.Load(); t0 != nil {
		report.T0UnixNs = unixNs(*t0)
	}
	if from := p.atT0.Load(); from != nil {
		report.SelfCheck = checkSelf(from, usedUpToEnd, report.GoMaxProcs, report.Workers, p.log, p.client.socketErrors.Load())
	}
	if reason != "" {
		report.Aborted, report.AbortReason = true, &reason
	}
	p.outcome = report.String()
	return errors.Join(logErr, writeJSON(p.path(loadFile), report))
}

// tick reports progress. A failure to do so is none of the run.
func (p *player) tick(log *rowLog) {
	report := progressReport{
		Scheduled: len(p.requests) + int(p.unplanned.Load()), Sent: int(p.sent.Load()), Completed: log.ok, Failed: log.failed,
		SkippedCells: p.levels.skippedCells(),
	}
	if t0 := p.t0.Load(); t0 != nil {
		report.EndsUnixNs = unixNs(t0.Add(endOffset(p.spec)))
	}
	_ = writeJSON(p.path(progressFile), report)
}

func (p *player) path(name string) string {
	return filepath.Join(p.spec.OutputDir, name)
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
