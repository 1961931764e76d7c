package llmeval

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// limited is a target that answers so many requests at once, 50 ms each; others wait.
func limited(atOnce int) *stub {
	slots := make(chan struct{}, atOnce)
	return &stub{respond: func(w http.ResponseWriter, _ *http.Request) {
		slots <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		<-slots
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, delta(`"content":"a"`)+finish+done)
	}}
}

// cellsOf gives each load a cell of one second in each iteration.
func cellsOf(spec *Spec, iterations int, change func(cell *Cell, load int), loads ...int) {
	model := spec.Cells[0]
	model.Phases, model.DurationSeconds = nil, 1
	spec.Cells = nil
	for iteration := range iterations {
		for i, load := range loads {
			cell := model
			change(&cell, load)
			cell.ID = fmt.Sprintf("%c%d", 'a'+i, iteration+1)
			cell.StartOffsetSeconds = 1.2 * float64(len(spec.Cells))
			spec.Cells = append(spec.Cells, cell)
		}
	}
}

func perCell(rows []row) map[string]int {
	counts := map[string]int{}
	for _, r := range rows {
		counts[r.Cell]++
	}
	return counts
}

// 40 per second can be served: of 4, 100 and 200 the last is never tried, in no iteration.
func TestStopWhenSaturatedOpenLoop(t *testing.T) {
	t.Parallel()
	spec := serve(t, limited(2))
	spec.StopWhenSaturated, spec.Workers = true, 200
	cellsOf(spec, 2, func(cell *Cell, load int) { cell.RatePerSecond = float64(load) }, 4, 100, 200)
	rows, report := run(t, spec)
	if got, want := perCell(rows), map[string]int{"a1": 4, "b1": 100, "a2": 4, "b2": 100}; !reflect.DeepEqual(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if !reflect.DeepEqual(report.SkippedCells, []string{"c1", "c2"}) || report.SaturatedCells[0].Cell != "b1" || report.Requests.Scheduled != 208 || report.Aborted {
		t.Errorf("report %+v", report)
	}
}

// One at a time is served: 16 bring no more than 1, so 32 is never tried.
func TestStopWhenSaturatedClosedLoop(t *testing.T) {
	t.Parallel()
	spec := serve(t, limited(1))
	spec.StopWhenSaturated = true
	cellsOf(spec, 1, func(cell *Cell, load int) { cell.RatePerSecond, cell.Arrivals, cell.Concurrency = 0, "", load }, 1, 16, 32)
	rows, report := run(t, spec)
	if got := perCell(rows); got["a1"] == 0 || got["b1"] == 0 || got["c1"] != 0 {
		t.Errorf("rows %v", got)
	}
	if !reflect.DeepEqual(report.SkippedCells, []string{"c1"}) || report.SaturatedCells[0].Cell != "b1" || report.Requests.Scheduled != len(rows) || report.Aborted {
		t.Errorf("report %+v", report)
	}
}

func TestNoSearchSkipsNothing(t *testing.T) {
	spec := serve(t, limited(1))
	spec.Cells[0].DurationSeconds, spec.Workers = 0.2, 40
	spec.Cells[0].RatePerSecond = 200
	rows, report := run(t, spec)
	if len(rows) != 40 || len(report.SkippedCells) != 0 || report.SkippedCells == nil || len(report.SaturatedCells) != 0 {
		t.Errorf("%d rows, report %+v", len(rows), report)
	}
}
