// Lengths of prompts and outputs: a fixed number of tokens, or one drawn for each request from a distribution.

package llmeval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
)

// Length is a number of tokens. In the spec it is a whole number, or an object with these fields.
type Length struct {
	// Distribution is "" (always Min), "uniform", "normal", "exponential" or "lognormal".
	Distribution string `json:"distribution"`
	// Mean and StandardDeviation are those of the lengths in tokens, also for "lognormal", before Min and Max cut them.
	Mean              float64 `json:"mean"`
	StandardDeviation float64 `json:"standardDeviation"`
	// Min and Max bound every length: a value beyond them becomes the bound.
	Min int `json:"min"`
	Max int `json:"max"`
}

func fixedLength(tokens int) Length {
	return Length{Min: tokens, Max: tokens}
}

// UnmarshalJSON accepts both forms. An unknown field is an error, as in the rest of the spec.
func (l *Length) UnmarshalJSON(text []byte) error {
	var tokens int
	if json.Unmarshal(text, &tokens) == nil {
		*l = fixedLength(tokens)
		return nil
	}
	type plain Length
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*plain)(l)); err != nil {
		return fmt.Errorf("length %s: want a whole number or a distribution: %w", text, err)
	}
	if l.Distribution == "" {
		return fmt.Errorf("length %s: want a distribution", text)
	}
	return nil
}

// problem is empty for a length that can be drawn.
func (l Length) problem() string {
	switch l.Distribution {
	case "", "uniform":
	case "exponential", "normal", "lognormal":
		if l.Mean <= 0 {
			return fmt.Sprintf("mean %v, want more than 0", l.Mean)
		}
		if l.Distribution != "exponential" && l.StandardDeviation <= 0 {
			return fmt.Sprintf("standardDeviation %v, want more than 0", l.StandardDeviation)
		}
	default:
		return fmt.Sprintf(`distribution %q, want "uniform", "normal", "exponential" or "lognormal"`, l.Distribution)
	}
	if l.Min < 1 {
		return fmt.Sprintf("%d, want at least 1", l.Min)
	}
	if l.Max < l.Min {
		return fmt.Sprintf("max %d, want at least min %d", l.Max, l.Min)
	}
	return ""
}

// draw returns one length. A fixed one takes no random number.
func (l Length) draw(random *rand.PCG) int {
	var value float64
	switch l.Distribution {
	case "uniform":
		return l.Min + int(unit(random)*float64(l.Max-l.Min+1))
	case "normal":
		value = l.Mean + l.StandardDeviation*standardNormal(random)
	case "exponential":
		value = -l.Mean * math.Log(1-unit(random))
	case "lognormal":
		// Parameters of the logarithm from mean and deviation of the value itself.
		ratio := l.StandardDeviation / l.Mean
		variance := math.Log1p(ratio * ratio)
		value = math.Exp(math.Log(l.Mean) - variance/2 + math.Sqrt(variance)*standardNormal(random))
	default:
		return l.Min
	}
	return int(math.Round(min(max(value, float64(l.Min)), float64(l.Max))))
}

// standardNormal returns a number of mean 0 and deviation 1 (Box and Muller 1958).
func standardNormal(random *rand.PCG) float64 {
	radius := math.Sqrt(-2 * math.Log(1-unit(random)))
	return radius * math.Cos(2*math.Pi*unit(random))
}
