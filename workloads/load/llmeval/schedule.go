// The schedule: every request of every cell with its time, computed from the seed before the first one is sent.

package llmeval

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// unassignedPhase marks a request whose time lies in none of its cell's phases.
const unassignedPhase = "unassigned"

// scheduled is one request of the schedule.
type scheduled struct {
	index int
	// indexInCell and the cell's id seed the prompt, so that another cell more or less changes no prompt.
	indexInCell int
	cell        *Cell
	phase       string
	// at counts from T0.
	at time.Duration
}

// schedule returns the requests of all cells in the order in which they are due.
func schedule(spec *Spec) []scheduled {
	var all []scheduled
	for i := range spec.Cells {
		cell := &spec.Cells[i]
		start := seconds(cell.StartOffsetSeconds)
		for j, at := range arrivals(cell, spec.Seed) {
			all = append(all, scheduled{indexInCell: j, cell: cell, phase: phaseAt(cell, at), at: start + at})
		}
	}
	sort.SliceStable(all, func(a, b int) bool { return all[a].at < all[b].at })
	for i := range all {
		all[i].index = i
	}
	return all
}

// arrivals returns the times of one cell's requests, counted from the start of the cell.
//
// All three kinds send the same number of requests: the points i/rate that lie before the cell's end.
//   - constant: at[i] = i/rate.
//   - poisson: a Poisson process conditioned on that number: exponential gaps, rescaled so that the number over the
//     duration is exact. Cells of one level stay comparable, and the achieved rate does not vary with the seed.
//   - burst: burstSize requests at once, every burstSize/rate seconds.
func arrivals(cell *Cell, seed uint64) []time.Duration {
	// The small term keeps 0.1 * 30 at 3 points.
	count := int(math.Ceil(cell.RatePerSecond*cell.DurationSeconds - 1e-9))
	at := make([]time.Duration, count)
	switch cell.Arrivals {
	case "poisson":
		random := newRandom(seed, "arrivals", cell.ID, 0)
		sums := make([]float64, count+1)
		total := 0.0
		for i := range sums {
			total += -math.Log(1 - unit(random))
			sums[i] = total
		}
		for i := range at {
			at[i] = seconds(sums[i] / total * cell.DurationSeconds)
		}
	case "burst":
		for i := range at {
			at[i] = seconds(float64(i/cell.BurstSize*cell.BurstSize) / cell.RatePerSecond)
		}
	default:
		for i := range at {
			at[i] = seconds(float64(i) / cell.RatePerSecond)
		}
	}
	return at
}

func phaseAt(cell *Cell, at time.Duration) string {
	for _, phase := range cell.Phases {
		start := seconds(phase.StartOffsetSeconds)
		if at >= start && at < start+seconds(phase.DurationSeconds) {
			return phase.Name
		}
	}
	return unassignedPhase
}

// scheduleSha256 identifies the schedule: one line per request, in order.
func scheduleSha256(all []scheduled) string {
	hash := sha256.New()
	for _, request := range all {
		fmt.Fprintf(hash, "%d\t%s\t%s\t%d\t%d\t%d\n", request.index, request.cell.ID, request.phase, request.at.Nanoseconds(),
			request.cell.PromptTokens, request.cell.OutputTokens)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// endOffset is the end of the last cell, counted from T0.
func endOffset(spec *Spec) time.Duration {
	var end time.Duration
	for _, cell := range spec.Cells {
		end = max(end, seconds(cell.StartOffsetSeconds)+seconds(cell.DurationSeconds))
	}
	return end
}

// newRandom returns a generator of its own for each use, so that one use never shifts the numbers of another.
func newRandom(seed uint64, use, cell string, index int) *rand.PCG {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s\x00%s\x00%d", use, cell, index)
	return rand.NewPCG(seed, hash.Sum64())
}

// unit returns a number in [0, 1) with 53 random bits.
func unit(random *rand.PCG) float64 {
	return float64(random.Uint64()>>11) / (1 << 53)
}
