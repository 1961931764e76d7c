package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	ttft = 40 * time.Millisecond
	itl  = 20 * time.Millisecond
)

func post(t *testing.T, url, body string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Request-Id", "one")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func truthOf(t *testing.T, url string) []record {
	t.Helper()
	response, err := http.Get(url + "/truth")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var records []record
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func TestStreamIsThatOfVllmAndItsTimesAreOnRecord(t *testing.T) {
	live := httptest.NewServer(newServer(ttft, itl).handler())
	defer live.Close()
	before := time.Now()
	text := post(t, live.URL+"/v1/completions", `{"prompt":"a b","max_tokens":2,"stream":true,"stream_options":{"include_usage":true}}`)
	took := time.Since(before)
	want := `data: {"id":"cmpl-stub","object":"text_completion","created":1,"model":"stub","choices":[{"index":0,"text":" time","logprobs":null,"finish_reason":null}]}

data: {"id":"cmpl-stub","object":"text_completion","created":1,"model":"stub","choices":[{"index":0,"text":" time","logprobs":null,"finish_reason":"length"}]}

data: {"id":"cmpl-stub","object":"text_completion","created":1,"model":"stub","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}

data: [DONE]

`
	if text != want {
		t.Errorf("got %s", text)
	}
	records := truthOf(t, live.URL)
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	r := records[0]
	if r.ID != "one" || r.OutputTokens != 2 || len(r.SentNs) != 2 || r.Path != "/v1/completions" || r.PromptTokens != 2 {
		t.Errorf("record %+v", r)
	}
	first, last := time.Duration(r.SentNs[0]-r.ReceivedNs), time.Duration(r.SentNs[1]-r.ReceivedNs)
	if first < ttft || last < ttft+itl || last > took || r.ReceivedNs < before.UnixNano() {
		t.Errorf("first token after %v, last after %v, the client saw the end after %v", first, last, took)
	}
	if left := truthOf(t, live.URL); len(left) != 0 {
		t.Errorf("records are given once, got %d again", len(left))
	}
}

func TestRoleComesWithTheFirstTokenOfAChat(t *testing.T) {
	lines := strings.Split(chunks(true, 0, 2)+chunks(true, 1, 2)+end(true, false, ""), "\n\n")
	want := []string{`"role":"assistant"`, `"content":" time"},"logprobs":null,"finish_reason":null`, `"finish_reason":"length"`, "[DONE]", ""}
	if len(lines) != len(want) {
		t.Fatalf("%d events: %q", len(lines), lines)
	}
	for index, part := range want {
		if !strings.Contains(lines[index], part) {
			t.Errorf("event %d: %s, want %s in it", index, lines[index], part)
		}
	}
}

func TestResponseThatIsNotStreamedIsWhole(t *testing.T) {
	live := httptest.NewServer(newServer(ttft, itl).handler())
	defer live.Close()
	var got struct {
		Choices []struct{ Message struct{ Content string } }
		Usage   struct {
			CompletionTokens int `json:"completion_tokens"`
		}
	}
	text := post(t, live.URL+"/v1/chat/completions", `{"messages":[],"max_completion_tokens":3}`)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != " time time time" || got.Usage.CompletionTokens != 3 {
		t.Errorf("got %s", text)
	}
}

func TestPromptTokensOfEveryForm(t *testing.T) {
	for body, want := range map[string]int{
		`"a b c"`:                           3,
		`["a b", "c"]`:                      3,
		`[{"role":"user","content":"a b"}]`: 2,
		`[{"role":"user","content":[{"type":"text"}]}]`: 0,
		`null`: 0,
	} {
		var prompt any
		if err := json.Unmarshal([]byte(body), &prompt); err != nil {
			t.Fatal(err)
		}
		if got := promptTokens(prompt); got != want {
			t.Errorf("%s: %d tokens, want %d", body, got, want)
		}
	}
}

func TestBodyThatIsNoJSONIsRefusedAndLeavesNoRecord(t *testing.T) {
	live := httptest.NewServer(newServer(ttft, itl).handler())
	defer live.Close()
	if text := post(t, live.URL+"/v1/completions", "nonsense"); !strings.Contains(text, "invalid character") {
		t.Errorf("got %s", text)
	}
	if records := truthOf(t, live.URL); len(records) != 0 {
		t.Errorf("%d records", len(records))
	}
}
