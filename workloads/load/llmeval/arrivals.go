// When the requests of an open loop arrive.

package llmeval

import (
	"math"
	"time"
)

// arrivals returns the times of one cell's requests, counted from the start of the cell.
//
// All kinds send the same number of requests: the points at which the integral of the rate is 0, 1, 2 ... before the
// cell's end; at a rate that stays these are i/rate.
//   - constant: at those points.
//   - poisson: a Poisson process conditioned on that number: exponential gaps, rescaled so that the number over the
//     duration is exact. Cells of one level stay comparable, and the achieved rate does not vary with the seed. Where the
//     rate changes, the times of a process of rate 1 are mapped through the inverse of the integral (Cinlar 1975,
//     Introduction to Stochastic Processes).
//   - burst: burstSize requests at once, every burstSize/rate seconds.
func arrivals(cell *Cell, seed uint64) []time.Duration {
	total := expectedRequests(cell)
	// The small term keeps 0.1 * 30 at 3 points.
	count := int(math.Ceil(total - 1e-9))
	at := make([]time.Duration, count)
	switch cell.Arrivals {
	case "poisson":
		random := newRandom(seed, "arrivals", cell.ID, 0)
		sums := make([]float64, count+1)
		sum := 0.0
		for i := range sums {
			sum += -math.Log(1 - unit(random))
			sums[i] = sum
		}
		for i := range at {
			if cell.RampToRatePerSecond == 0 {
				at[i] = seconds(sums[i] / sum * cell.DurationSeconds)
			} else {
				at[i] = seconds(timeOf(cell, sums[i]/sum*total))
			}
		}
	case "burst":
		for i := range at {
			at[i] = seconds(float64(i/cell.BurstSize*cell.BurstSize) / cell.RatePerSecond)
		}
	default:
		for i := range at {
			at[i] = seconds(timeOf(cell, float64(i)))
		}
	}
	return at
}

// expectedRequests is the integral of the rate over the cell.
func expectedRequests(cell *Cell) float64 {
	if cell.RampToRatePerSecond == 0 {
		return cell.RatePerSecond * cell.DurationSeconds
	}
	return (cell.RatePerSecond + cell.RampToRatePerSecond) / 2 * cell.DurationSeconds
}

// timeOf is the inverse of the integrated rate: the time in seconds at which that many requests have arrived. The form of
// the quadratic's solution is the one that loses no digits when the rate hardly changes.
func timeOf(cell *Cell, requests float64) float64 {
	rate := cell.RatePerSecond
	if cell.RampToRatePerSecond == 0 {
		return requests / rate
	}
	slope := (cell.RampToRatePerSecond - rate) / cell.DurationSeconds
	return 2 * requests / (rate + math.Sqrt(max(0, rate*rate+2*slope*requests)))
}
