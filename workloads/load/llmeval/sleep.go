// Sleeping until a point in time to some tens of microseconds, without spinning.

package llmeval

import (
	"context"
	"syscall"
	"time"
)

// coarseMargin is left to the system call: the Go runtime's timers wake to the millisecond only
// (epoll_wait, golang/go#44343), nanosleep wakes to about 60 microseconds.
const coarseMargin = 2 * time.Millisecond

// sleepUntil returns false when ctx ends first. It holds a thread for the last two milliseconds only.
func sleepUntil(ctx context.Context, target time.Time) bool {
	if wait := time.Until(target) - coarseMargin; wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	for {
		wait := time.Until(target)
		if wait <= 0 {
			return ctx.Err() == nil
		}
		// A signal of the runtime may interrupt the call; the loop sleeps the rest.
		rest := syscall.NsecToTimespec(wait.Nanoseconds())
		_ = syscall.Nanosleep(&rest, nil)
	}
}
