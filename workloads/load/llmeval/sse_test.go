package llmeval

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// parts makes a recording in which part i was read at (i+1) * 10 ms.
func parts(texts ...string) recording {
	var taken recording
	for i, text := range texts {
		taken.body = append(taken.body, text...)
		taken.arrivals = append(taken.arrivals, arrival{end: len(taken.body), at: time.Duration(i+1) * 10 * time.Millisecond})
	}
	return taken
}

func delta(fields string) string {
	return `data: {"choices":[{"index":0,"delta":{` + fields + `},"finish_reason":null}]}` + "\n\n"
}

const (
	finish = `data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"length"}]}` + "\n\n"
	usage  = `data: {"choices":[],"usage":{"prompt_tokens":64,"completion_tokens":3}}` + "\n\n"
	done   = "data: [DONE]\n\n"
)

func TestParseStream(t *testing.T) {
	for name, test := range map[string]struct {
		taken recording
		want  string
	}{
		"vLLM: role chunk with the first token": {
			parts(delta(`"role":"assistant","content":""`)+delta(`"content":"a"`), delta(`"content":"b"`), delta(`"content":"c"`), finish+usage, done),
			`{"firstChunk":10,"firstToken":10,"lastToken":30,"done":50,"gaps":[10,10],"chunkTokens":[1,1,1],"prompt":64,"output":3,"finish":"length"}`},
		"early role chunk is no token": {
			parts(delta(`"role":"assistant"`), "", delta(`"content":"a"`), done),
			`{"firstChunk":10,"firstToken":30,"lastToken":30,"done":40,"chunkTokens":[1]}`},
		"reasoning counts, both names": {
			parts(delta(`"reasoning":"a"`), delta(`"reasoning_content":"b"`), delta(`"content":"c"`), done),
			`{"firstChunk":10,"firstToken":10,"lastToken":30,"done":40,"gaps":[10,10],"chunkTokens":[1,1,1]}`},
		"completions": {
			parts(`data: {"choices":[{"text":"a"}]}`+"\n\n", `data: {"choices":[{"text":"b","finish_reason":"stop"}]}`+"\n\n"+done),
			`{"firstChunk":10,"firstToken":10,"lastToken":20,"done":20,"gaps":[10],"chunkTokens":[1,1],"finish":"stop"}`},
		"tokens per chunk from logprobs and token ids": {
			parts(`data: {"choices":[{"delta":{"content":"ab"},"logprobs":{"content":[{},{}]}}]}`+"\n\n",
				`data: {"choices":[{"text":"abc","logprobs":{"tokens":["a","b","c"]}}]}`+"\n\n",
				`data: {"choices":[{"delta":{"content":"abcd"},"token_ids":[1,2,3,4]}]}`+"\n\n", done),
			`{"firstChunk":10,"firstToken":10,"lastToken":30,"done":40,"gaps":[10,10],"chunkTokens":[2,3,4]}`},
		"an event over two reads has the time of the second": {
			parts(`data: {"choices":[{"delta":`, `{"content":"a"}}]}`+"\n", "\n"+done),
			`{"firstChunk":20,"firstToken":20,"lastToken":20,"done":30,"chunkTokens":[1]}`},
		"comments, other fields, CRLF, no space": {
			parts(": ping\r\n\r\nevent: message\r\nid: 7\r\n" + `data:{"choices":[{"delta":{"content":"a"}}]}` + "\r\n\r\ndata:[DONE]\r\n\r\n"),
			`{"firstChunk":10,"firstToken":10,"lastToken":10,"done":10,"chunkTokens":[1]}`},
		"text after the end is ignored": {
			parts(delta(`"content":"a"`), done, delta(`"content":"b"`)),
			`{"firstChunk":10,"firstToken":10,"lastToken":10,"done":20,"chunkTokens":[1]}`},
		"cut stream": {
			parts(delta(`"content":"a"`), `data: {"choi`),
			`{"firstChunk":10,"firstToken":10,"lastToken":10,"chunkTokens":[1],"status":"stream_error","problem":"cut stream: no [DONE] after 90 bytes"}`},
		"empty body": {
			parts(),
			`{"status":"stream_error","problem":"cut stream: no [DONE] after 0 bytes"}`},
		"error item of Ray Serve": {
			parts(delta(`"content":"a"`), `data: {"error":{"message":"replica died","code":500}}`+"\n\n", done),
			`{"firstChunk":10,"firstToken":10,"lastToken":10,"done":30,"chunkTokens":[1],"status":"stream_error","problem":"error item: {\"error\":{\"message\":\"replica died\",\"code\":500}}"}`},
		"error item of vLLM, then cut": {
			parts(`data: {"object":"error","message":"engine dead"}` + "\n\n"),
			`{"status":"stream_error","problem":"error item: {\"object\":\"error\",\"message\":\"engine dead\"}"}`},
		"error null is no error": {
			parts(`data: {"error":null,"choices":[{"delta":{"content":"a"}}]}`+"\n\n", done),
			`{"firstChunk":10,"firstToken":10,"lastToken":10,"done":20,"chunkTokens":[1]}`},
		"no JSON": {
			parts("data: oops\n\n", delta(`"content":"a"`), done),
			`{"firstChunk":20,"firstToken":20,"lastToken":20,"done":30,"chunkTokens":[1],"status":"parse_error","problem":"chunk: invalid character 'o' looking for beginning of value: oops"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := render(t, parseStream(test.taken)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestParseWhole(t *testing.T) {
	for name, test := range map[string]struct {
		taken recording
		want  string
	}{
		"chat": {parts(`{"choices":[{"message":{"content":"a b"},"finish_reason":"length"}],`, `"usage":{"prompt_tokens":8,"completion_tokens":2}}`),
			`{"done":20,"prompt":8,"output":2,"finish":"length"}`},
		"error":      {parts(`{"error":{"message":"no"}}`), `{"status":"stream_error","problem":"error item: {\"error\":{\"message\":\"no\"}}"}`},
		"no choices": {parts(`{}`), `{"done":10,"status":"parse_error","problem":"response without choices: {}"}`},
		"no JSON":    {parts(`<html>`), `{"status":"parse_error","problem":"response: invalid character '\u003c' looking for beginning of value: \u003chtml\u003e"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := render(t, parseWhole(test.taken)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func render(t *testing.T, o outcome) string {
	t.Helper()
	ms := func(value *time.Duration) *int64 {
		if value == nil {
			return nil
		}
		result := value.Milliseconds()
		return &result
	}
	var gaps []int64
	for _, gap := range o.gaps {
		gaps = append(gaps, gap.Milliseconds())
	}
	text, err := json.Marshal(struct {
		FirstChunk  *int64  `json:"firstChunk,omitempty"`
		FirstToken  *int64  `json:"firstToken,omitempty"`
		LastToken   *int64  `json:"lastToken,omitempty"`
		Done        *int64  `json:"done,omitempty"`
		Gaps        []int64 `json:"gaps,omitempty"`
		ChunkTokens []int   `json:"chunkTokens,omitempty"`
		Prompt      *int    `json:"prompt,omitempty"`
		Output      *int    `json:"output,omitempty"`
		Finish      *string `json:"finish,omitempty"`
		Status      string  `json:"status,omitempty"`
		Problem     string  `json:"problem,omitempty"`
	}{ms(o.firstChunk), ms(o.firstToken), ms(o.lastToken), ms(o.done), gaps, o.chunkTokens, o.promptTokens, o.outputTokens, o.finishReason, o.status, o.problem})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// slowBody reads one string per call, then fails with err.
type slowBody struct {
	texts []string
	err   error
}

func (s *slowBody) Read(into []byte) (int, error) {
	if len(s.texts) == 0 {
		return 0, s.err
	}
	count := copy(into, s.texts[0])
	s.texts[0] = s.texts[0][count:]
	if s.texts[0] == "" {
		s.texts = s.texts[1:]
	}
	return count, nil
}

func TestRecord(t *testing.T) {
	large := strings.Repeat("x", 3*readSize)
	taken, err := record(&slowBody{texts: []string{"ab", "cd", large}, err: io.EOF}, time.Now())
	if err != nil || string(taken.body) != "abcd"+large {
		t.Fatalf("body of %d bytes, error %v", len(taken.body), err)
	}
	ends := []int{taken.arrivals[0].end, taken.arrivals[1].end, taken.arrivals[len(taken.arrivals)-1].end}
	if want := []int{2, 4, 4 + len(large)}; !reflect.DeepEqual(ends, want) {
		t.Errorf("ends %v, want %v", ends, want)
	}
	reset := errors.New("reset")
	taken, err = record(&slowBody{texts: []string{"ab"}, err: reset}, time.Now())
	if !errors.Is(err, reset) || string(taken.body) != "ab" {
		t.Errorf("body %q, error %v: want the part that was read and the error", taken.body, err)
	}
}
