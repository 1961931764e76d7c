package llmeval

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadSpecReportsAllProblems(t *testing.T) {
	file := write(t, "load.json", `{"schemaVersion":2,"target":{"url":"host:8000","model":"","api":"chats"},"workers":0,
		"cells":[{"id":"a","durationSeconds":0,"ratePerSecond":1,"arrivals":"uniform","promptTokens":1,"outputTokens":1,"phases":[{"name":""}]},
			{"id":"a","durationSeconds":1,"ratePerSecond":1,"arrivals":"burst","promptTokens":0,"outputTokens":1}]}`)
	_, err := readSpec(file)
	want := `load spec ` + file + `: schemaVersion: 2, this load generator reads 1; experimentId: must not be empty; ` +
		`target.url: "host:8000", want http(s)://host/path; target.model: must not be empty; target.api: "chats", want "chat" or "completions"; ` +
		`workers: 0, want at least 1; requestTimeoutSeconds: 0, want more than 0; t0TimeoutSeconds: 0, want more than 0; ` +
		`timelineFile: must not be empty; outputDir: must not be empty; cells[0].durationSeconds: 0, want more than 0; ` +
		`cells[0].arrivals: "uniform", want "constant", "poisson" or "burst"; ` +
		`cells[0].phases[0]: want a name, startOffsetSeconds of 0 or more and durationSeconds of more than 0; ` +
		`cells[1].id: "a", must be set and unique; cells[1].burstSize: 0, want at least 1; cells[1].promptTokens: 0, want at least 1`
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func TestReadSpecProblemsOfNewerFields(t *testing.T) {
	file := write(t, "load.json", `{"schemaVersion":1,"experimentId":"x","target":{"url":"http://a/b","model":"m","api":"completions"},"workers":1,
		"requestTimeoutSeconds":1,"t0TimeoutSeconds":1,"timelineFile":"a","outputDir":"b","stopAfterDeadSeconds":-1,
		"prompts":{"kind":"multi-turn","turns":0,"thinkSeconds":-1},
		"cells":[{"id":"a","durationSeconds":1,"ratePerSecond":null,"concurrency":2,"rampToRatePerSecond":null,"promptTokens":1,"outputTokens":{"distribution":"normal","mean":4,"min":1,"max":9}},
			{"id":"b","durationSeconds":1,"ratePerSecond":1,"concurrency":2,"promptTokens":1,"outputTokens":1},
			{"id":"c","durationSeconds":1,"ratePerSecond":1,"rampToRatePerSecond":2,"arrivals":"burst","burstSize":1,"promptTokens":1,"outputTokens":1}]}`)
	_, err := readSpec(file)
	want := `load spec ` + file + `: stopAfterDeadSeconds: -1, want null (never) or more than 0; prompts.turns: 0, want at least 1; ` +
		`prompts.thinkSeconds: -1, want 0 or more; prompts.kind: "multi-turn" needs the chat API; ` +
		`cells[0].outputTokens: standardDeviation 0, want more than 0; cells[1]: want either a rate or a concurrency; ` +
		`cells[2].rampToRatePerSecond: bursts have no ramp; cells[2].concurrency: 0, want all cells with a rate or all with a concurrency`
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func TestReadSpecUnknownField(t *testing.T) {
	file := write(t, "load.json", `{"qps":1}`)
	_, err := readSpec(file)
	if want := `load spec ` + file + `: json: unknown field "qps"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReadT0(t *testing.T) {
	if _, found, err := readT0(filepath.Join(t.TempDir(), "timeline.json")); found || err != nil {
		t.Errorf("missing file: found %v, error %v", found, err)
	}
	file := write(t, "timeline.json", `{"schemaVersion":1,"gatePassedUnixNs":"1","t0UnixNs":"1790000000123456789","leadSeconds":5,"replicas":[],"attempts":1}`)
	t0, found, err := readT0(file)
	if want := time.Unix(1790000000, 123456789); !found || err != nil || !t0.Equal(want) {
		t.Errorf("got %v, %v, %v, want %v", t0, found, err, want)
	}
	file = write(t, "timeline.json", `{"schemaVersion":1}`)
	_, _, err = readT0(file)
	if want := "timeline " + file + ": want schemaVersion 1 and a positive t0UnixNs"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
