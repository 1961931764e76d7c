package llmeval

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestRampExact(t *testing.T) {
	// From 1 to 3 per second over 4 s: n(t) = t + t^2/4, so t(n) = -2 + 2 sqrt(1 + n); the other way 3 t - t^2/4.
	up := Cell{Arrivals: "constant", RatePerSecond: 1, RampToRatePerSecond: 3, DurationSeconds: 4}
	want, wantDown := []float64{}, []float64{}
	for n := range 8 {
		want = append(want, math.Round((-2+2*math.Sqrt(1+float64(n)))*1e9)/1e6)
		wantDown = append(wantDown, math.Round((6-2*math.Sqrt(9-float64(n)))*1e9)/1e6)
	}
	if got := milliseconds(arrivals(&up, 1)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	down := Cell{Arrivals: "constant", RatePerSecond: 3, RampToRatePerSecond: 1, DurationSeconds: 4}
	if got := milliseconds(arrivals(&down, 1)); !reflect.DeepEqual(got, wantDown) {
		t.Errorf("got %v, want %v", got, wantDown)
	}
	// A ramp that goes nowhere is a constant rate.
	flat := Cell{Arrivals: "constant", RatePerSecond: 4, RampToRatePerSecond: 4, DurationSeconds: 1.5}
	if got, want := milliseconds(arrivals(&flat, 1)), []float64{0, 250, 500, 750, 1000, 1250}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	poisson := Cell{ID: "a", Arrivals: "poisson", RatePerSecond: 1, RampToRatePerSecond: 3, DurationSeconds: 3}
	// The same process as poissonGolden, mapped.
	golden := []float64{615.138682, 1073.912955, 1479.149917, 1781.943005, 2686.888512, 2881.700061}
	if got, want := milliseconds(arrivals(&poisson, 1)), golden; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Half of the time of a ramp from 10 to 30 per second has (10+20)/2, the other (20+30)/2 requests per second.
func TestRampShares(t *testing.T) {
	for _, kind := range []string{"constant", "poisson"} {
		at := arrivals(&Cell{ID: "a", Arrivals: kind, RatePerSecond: 10, RampToRatePerSecond: 30, DurationSeconds: 500}, 5)
		first := 0
		for i, value := range at {
			if value < 250*time.Second {
				first++
			}
			if i > 0 && value < at[i-1] || value < 0 || value >= 500*time.Second {
				t.Fatalf("%s: %v is out of order or past the end", kind, value)
			}
		}
		if len(at) != 10000 || math.Abs(float64(first)-3750) > 150 {
			t.Errorf("%s: %d requests, %d of them in the first half; want 10000, 3750", kind, len(at), first)
		}
	}
}
