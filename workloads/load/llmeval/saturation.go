// The rules by which a level counts as saturated.

package llmeval

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// snapshot counts the requests that have arrived and those of them that have not ended.
type snapshot struct{ arrived, unfinished int64 }

func (o *level) snapshot(at time.Duration) snapshot {
	due := sort.Search(len(o.due), func(i int) bool { return o.due[i] >= at })
	arrived := int64(due) + o.laterTurns.Load()
	return snapshot{arrived: arrived, unfinished: arrived - o.ended.Load()}
}

// Shares of the rules below.
const (
	saturatedGrowth  = 0.1
	saturatedFailure = 0.1
	saturatedGain    = 0.1
)

// failing: a level at which more than 10 % of the measured requests fail is not served.
func (o *level) failing() string {
	measured, failed := o.measured.Load(), o.failed.Load()
	if float64(failed) <= saturatedFailure*float64(measured) {
		return ""
	}
	return fmt.Sprintf("%d of %d measured requests failed", failed, measured)
}

// backlogReason: an open queue is stable only while requests arrive more slowly than they are served (Kleinrock 1975,
// Queueing Systems 1); otherwise its backlog grows by the difference of the rates. Saturated is a level whose
// backlog grew by more than 10 % of what arrived in the second half of the measured time, so the target served less
// than 90 % of the rate. The backlog of a stable level scatters, too: as the number in an M/G/infinity queue it is
// Poisson, and the difference of two such numbers has the deviation sqrt(2 x backlog); growth within two of these, or
// of two requests, proves nothing.
func backlogReason(middle, end snapshot, over time.Duration) string {
	growth, arrived := end.unfinished-middle.unfinished, end.arrived-middle.arrived
	noise := 2 * math.Sqrt(2*float64(max(0, middle.unfinished)))
	if float64(growth) <= max(2, saturatedGrowth*float64(arrived), noise) {
		return ""
	}
	return fmt.Sprintf("the backlog grew from %d to %d requests in %.1f s, in which %d arrived",
		middle.unfinished, end.unfinished, over.Seconds(), arrived)
}

// plateauReason: the backlog of a closed loop cannot grow. Its throughput rises with the concurrency until the
// bottleneck is busy all the time, and no more after that (Denning and Buzen 1978, The Operational Analysis of Queueing
// Network Models, asymptotic bounds). Saturated is a level that brought less than 10 % of a proportional rise.
func plateauReason(before, now *level) string {
	proportional := now.load()/before.load() - 1
	lower, higher := before.throughput(), now.throughput()
	if proportional <= 0 || lower == 0 || higher/lower-1 >= saturatedGain*proportional {
		return ""
	}
	return fmt.Sprintf("%.3g requests per second at concurrency %d, %.3g at %d",
		higher, now.cell.Concurrency, lower, before.cell.Concurrency)
}

func (o *level) throughput() float64 {
	_, measured, end := o.times()
	return float64(o.completed.Load()) / (end - measured).Seconds()
}
