package llmeval

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestLagStatistics(t *testing.T) {
	var lags []int64
	for i := range 200 {
		lags = append(lags, int64(200-i))
	}
	if got, want := *lagStatistics(lags), (lagReport{Mean: 100, P50: 100, P99: 198, Max: 200}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := *lagStatistics([]int64{7}), (lagReport{7, 7, 7, 7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := lagStatistics(nil); got != nil {
		t.Errorf("got %+v for no request, want nil", got)
	}
}

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two"} {
		put(requestsFile, text)
		if err := setAside(dir); err != nil {
			t.Fatal(err)
		}
	}
	put(loadFile, "three")
	if err := setAside(dir); err != nil {
		t.Fatal(err)
	}
	if err := setAside(dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		text, _ := os.ReadFile(filepath.Join(dir, entry.Name()))
		got[entry.Name()] = string(text)
	}
	want := map[string]string{"requests.jsonl.attempt-1": "one", "requests.jsonl.attempt-2": "two", "load.json.attempt-3": "three"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHasPlayed(t *testing.T) {
	for text, want := range map[string]bool{
		`{"experimentId":"x-r1-abc","aborted":false}`: true,
		`{"experimentId":"x-r1-abc","aborted":true}`:  false,
		`{"experimentId":"y-r1-abc","aborted":false}`: false,
		`{"experi`: false,
	} {
		dir := filepath.Dir(write(t, loadFile, text))
		if got := hasPlayed(&Spec{ExperimentID: "x-r1-abc", OutputDir: dir}); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestRowJSON(t *testing.T) {
	spec := &Spec{ExperimentID: "smoke-r1-3f9ac2", Prompts: Prompts{Kind: promptsRandom}}
	cell := Cell{ID: "rate-4"}
	r := newRow(spec, &scheduled{index: 17, cell: &cell, phase: "before", promptTokens: 64, outputTokens: 3})
	unsent := `{"requestId":"smoke-r1-3f9ac2-000017","cell":"rate-4","phase":"before","scheduledUnixNs":null,"sentUnixNs":null,"lagNs":null,` +
		`"connectNs":null,"connectionReused":false,"headersNs":null,"firstChunkNs":null,"firstTokenNs":null,"lastTokenNs":null,"doneNs":null,` +
		`"ttftNs":null,"itlNs":[],"chunkTokens":[],"e2eNs":null,"tpotNs":null,"status":"aborted","httpStatus":null,"error":null,` +
		`"promptTokens":null,"outputTokens":null,"expectedPromptTokens":64,"expectedOutputTokens":3,"finishReason":null,"worker":null,"responseBytes":0,"session":null,"turn":null}`
	check := func(want string) {
		t.Helper()
		got, err := json.Marshal(r)
		if err != nil || string(got) != want {
			t.Errorf("error %v\n got %s\nwant %s", err, got, want)
		}
	}
	check(unsent)

	r.take(parseStream(parts(delta(`"role":"assistant"`), delta(`"content":"a"`), delta(`"content":"b"`), delta(`"content":"c"`), finish+usage, done)))
	r.Status = statusOK
	r.ScheduledUnixNs = unixNs(time.Unix(1790000000, 123456789))
	r.SentUnixNs = unixNs(time.Unix(1790000000, 123456799))
	lag, worker := int64(10), 3
	r.LagNs, r.Worker = &lag, &worker
	check(`{"requestId":"smoke-r1-3f9ac2-000017","cell":"rate-4","phase":"before","scheduledUnixNs":"1790000000123456789",` +
		`"sentUnixNs":"1790000000123456799","lagNs":10,"connectNs":null,"connectionReused":false,"headersNs":null,"firstChunkNs":10000000,` +
		`"firstTokenNs":20000000,"lastTokenNs":40000000,"doneNs":60000000,"ttftNs":20000000,"itlNs":[10000000,10000000],"chunkTokens":[1,1,1],` +
		`"e2eNs":60000000,"tpotNs":10000000,"status":"ok","httpStatus":null,"error":null,"promptTokens":64,"outputTokens":3,` +
		`"expectedPromptTokens":64,"expectedOutputTokens":3,"finishReason":"length","worker":3,"responseBytes":0,"session":null,"turn":null}`)
}

func TestLogLines(t *testing.T) {
	reason := "signal: terminated"
	whole := loadReport{Requests: requestCounts{Scheduled: 60, Sent: 60, OK: 58, Failed: 2}, LagNs: &lagReport{P50: 98_000, P99: 271_000}}
	cut := whole
	cut.Aborted, cut.AbortReason = true, &reason
	cut.SelfCheck = &selfCheck{Bottleneck: true, Reasons: []string{"it used 90 % of 2 processors, more than 80 %"}}
	for want, report := range map[string]loadReport{
		"ended: 60 requests, 58 ok, 2 failed; sent 0.10 ms late (p50), 0.27 ms (p99)": whole,
		"ended: 60 requests, 58 ok, 2 failed; sent 0.10 ms late (p50), 0.27 ms (p99); this load generator was the bottleneck: " +
			"it used 90 % of 2 processors, more than 80 %; aborted: signal: terminated": cut,
		"ended: 0 requests, 0 ok, 0 failed": {},
	} {
		if got := report.String(); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}

	spec := serve(t, &stub{})
	spec.Target.URL = "http://engine:8000"
	p := makePlayer(t, spec)
	t0 := time.Unix(1790000000, 5e6)
	p.t0.Store(&t0)
	if got, want := p.beginning(), "T0 is 14:13:20.005Z: 10 requests by 8 workers to http://engine:8000, until 14:13:20.505Z"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestFullDiskIsToldOnceAndAtOnce(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 2)
	log := startRowLog(full, 1, func(*rowLog) {}, func(err error) { told <- err })
	log.rows <- &row{Status: statusOK}
	select {
	case err := <-told:
		if err.Error() != "write /dev/full: no space left on device" {
			t.Errorf("told %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("not told while the load plays")
	}
	if err := log.close(); err == nil || err.Error() != "write /dev/full: no space left on device" || len(told) != 0 {
		t.Errorf("close says %v, told %d times more", err, len(told))
	}
}
