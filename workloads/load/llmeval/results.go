// The files of the results volume: ready.json, progress.json, requests.jsonl, load.json.

package llmeval

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	readyFile    = "ready.json"
	progressFile = "progress.json"
	requestsFile = "requests.jsonl"
	loadFile     = "load.json"

	flushInterval = time.Second
)

type readyReport struct {
	SchemaVersion  int    `json:"schemaVersion"`
	PID            int    `json:"pid"`
	Requests       int    `json:"requests"`
	ScheduleSha256 string `json:"scheduleSha256"`
}

// progressReport: requests in flight are sent - completed - failed.
type progressReport struct {
	Scheduled int `json:"scheduled"`
	Sent      int `json:"sent"`
	// Completed counts the requests that ended well, Failed all others that have a row.
	Completed  int     `json:"completed"`
	Failed     int     `json:"failed"`
	EndsUnixNs *int64s `json:"endsUnixNs"`
	// SkippedCells will not be played: no fault is made in them.
	SkippedCells []string `json:"skippedCells"`
}

// loadReport is load.json, the load generator's report on itself and the marker of its end.
type loadReport struct {
	SchemaVersion  int           `json:"schemaVersion"`
	ExperimentID   string        `json:"experimentId"`
	LoadGenerator  string        `json:"loadGenerator"`
	StartedUnixNs  *int64s       `json:"startedUnixNs"`
	EndedUnixNs    *int64s       `json:"endedUnixNs"`
	T0UnixNs       *int64s       `json:"t0UnixNs"`
	ScheduleSha256 string        `json:"scheduleSha256"`
	Requests       requestCounts `json:"requests"`
	LagNs          *lagReport    `json:"lagNs"`
	CPUSeconds     float64       `json:"cpuSeconds"`
	GoMaxProcs     int           `json:"goMaxProcs"`
	Workers        int           `json:"workers"`
	// SelfCheck is null where T0 was not reached.
	SelfCheck *selfCheck `json:"selfCheck"`
	// SkippedCells lie above a level that was saturated; SaturatedCells say how it showed.
	SkippedCells   []string        `json:"skippedCells"`
	SaturatedCells []saturatedCell `json:"saturatedCells"`
	Aborted        bool            `json:"aborted"`
	AbortReason    *string         `json:"abortReason"`
}

// requestCounts: ok + failed = scheduled, of the cells that were played. A request that was never sent has failed.
type requestCounts struct {
	Scheduled int `json:"scheduled"`
	Sent      int `json:"sent"`
	OK        int `json:"ok"`
	Failed    int `json:"failed"`
}

type lagReport struct {
	Mean int64 `json:"mean"`
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	Max  int64 `json:"max"`
}

// String is the report in a line.
func (r loadReport) String() string {
	text := fmt.Sprintf("ended: %d requests, %d ok, %d failed", r.Requests.Scheduled, r.Requests.OK, r.Requests.Failed)
	if r.LagNs != nil {
		text += fmt.Sprintf("; sent %.2f ms late (p50), %.2f ms (p99)", float64(r.LagNs.P50)/1e6, float64(r.LagNs.P99)/1e6)
	}
	if r.SelfCheck != nil && r.SelfCheck.Bottleneck {
		text += "; this load generator was the bottleneck: " + strings.Join(r.SelfCheck.Reasons, "; ")
	}
	if r.Aborted {
		text += "; aborted: " + *r.AbortReason
	}
	return text
}

// lagStatistics takes percentiles by nearest rank. It is nil when nothing was sent.
func lagStatistics(lags []int64) *lagReport {
	if len(lags) == 0 {
		return nil
	}
	slices.Sort(lags)
	sum := int64(0)
	for _, lag := range lags {
		sum += lag
	}
	rank := func(percent int) int64 { return lags[(len(lags)*percent+99)/100-1] }
	return &lagReport{Mean: sum / int64(len(lags)), P50: rank(50), P99: rank(99), Max: lags[len(lags)-1]}
}

// writeJSON replaces the file in one step; a reader never sees a part of it.
func writeJSON(file string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	temporary, err := os.Create(file + ".tmp")
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}

// hasPlayed says whether an earlier process has played this experiment to the end.
func hasPlayed(spec *Spec) bool {
	text, err := os.ReadFile(filepath.Join(spec.OutputDir, loadFile))
	if err != nil {
		return false
	}
	var report loadReport
	return json.Unmarshal(text, &report) == nil && report.ExperimentID == spec.ExperimentID && !report.Aborted
}

// setAside renames what an earlier attempt left, so that nothing measured is ever overwritten.
func setAside(dir string) error {
	names := []string{requestsFile, loadFile}
	exists := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	if !slices.ContainsFunc(names, exists) {
		return nil
	}
	attempt := 1
	taken := func(name string) bool { return exists(fmt.Sprintf("%s.attempt-%d", name, attempt)) }
	for slices.ContainsFunc(names, taken) {
		attempt++
	}
	for _, name := range names {
		if !exists(name) {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.Rename(file, fmt.Sprintf("%s.attempt-%d", file, attempt)); err != nil {
			return err
		}
	}
	return nil
}

// rowLog writes the rows from one goroutine and counts them.
type rowLog struct {
	rows   chan *row
	ended  chan struct{}
	file   *os.File
	onTick func(*rowLog)
	// onError gets the first error, in the log's goroutine.
	onError func(error)

	// The rest belongs to the goroutine until ended is closed.
	lags, ownLags []int64
	// waited counts the requests that waited for a free worker.
	waited int
	// failed counts the aborted ones too.
	ok, failed, aborted int
	err                 error
}

// openRowLog starts the log. The channel holds every row, so that no worker ever waits for the disk. onTick runs in the
// log's goroutine once a second and at the end, onError when a row cannot be written.
func openRowLog(file string, count int, onTick func(*rowLog), onError func(error)) (*rowLog, error) {
	// An existing file has been set aside; if one is here nevertheless, another process writes it.
	opened, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return startRowLog(opened, count, onTick, onError), nil
}

func startRowLog(file *os.File, count int, onTick func(*rowLog), onError func(error)) *rowLog {
	log := &rowLog{rows: make(chan *row, count), ended: make(chan struct{}), file: file, onTick: onTick, onError: onError}
	go log.run()
	return log
}

func (l *rowLog) run() {
	defer close(l.ended)
	buffered := bufio.NewWriterSize(l.file, 256<<10)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case r, more := <-l.rows:
			if !more {
				l.check(buffered.Flush())
				l.check(l.file.Sync())
				l.check(l.file.Close())
				l.onTick(l)
				return
			}
			l.count(r)
			l.check(encoder.Encode(r))
		case <-tick.C:
			l.check(buffered.Flush())
			l.onTick(l)
		}
	}
}

// check keeps the first error; the writer repeats it at every call.
func (l *rowLog) check(err error) {
	if err == nil || l.err != nil {
		return
	}
	l.err = err
	l.onError(err)
}

func (l *rowLog) count(r *row) {
	if r.Status == statusOK {
		l.ok++
	} else {
		l.failed++
	}
	if r.Status == statusAborted {
		l.aborted++
	}
	if r.LagNs != nil {
		l.lags = append(l.lags, *r.LagNs)
		l.ownLags = append(l.ownLags, r.ownLag.Nanoseconds())
		if r.workerWait > maxOwnLag {
			l.waited++
		}
	}
}

// close waits until every row is on the disk.
func (l *rowLog) close() error {
	close(l.rows)
	<-l.ended
	return l.err
}
