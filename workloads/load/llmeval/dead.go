// Stopping early when the engine is dead: nothing but failures for too long.

package llmeval

import (
	"fmt"
	"sync"
	"time"
)

// deadWatch looks at failures only: a time without any request says nothing about the engine.
type deadWatch struct {
	limit time.Duration

	mutex sync.Mutex
	// since is the last success, or T0; first is the first failure after it.
	since, first time.Time
	failures     int
}

// note takes a request that has ended. It returns why the engine counts as dead, or nothing.
func (d *deadWatch) note(r *row) string {
	if d.limit == 0 || r.Status == statusAborted {
		return ""
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if r.Status == statusOK {
		if r.ended.After(d.since) {
			d.since = r.ended
		}
		d.failures = 0
		return ""
	}
	if d.failures == 0 {
		d.first = r.ended
	}
	d.failures++
	failing := r.ended.Sub(d.first)
	if failing < d.limit {
		return ""
	}
	return fmt.Sprintf("the engine is dead: no request has succeeded since %s, %d have failed within %.1f s (stopAfterDeadSeconds %v); last error: %s: %s",
		d.since.UTC().Format("2006-01-02T15:04:05.000Z"), d.failures, failing.Seconds(), d.limit.Seconds(), r.Status, *r.Error)
}
