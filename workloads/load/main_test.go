package main

import (
	"math"
	"testing"
)

func TestMemoryThatIsBoundedIsUsedBeforeItIsCollected(t *testing.T) {
	if got := gcPercent(math.MaxInt64); got != 400 {
		t.Errorf("without a limit: %d, want 400", got)
	}
	if got := gcPercent(400 << 20); got != -1 {
		t.Errorf("with a limit: %d, want -1", got)
	}
}
