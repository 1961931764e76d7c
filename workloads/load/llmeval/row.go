// One row of requests.jsonl, and the numbers that are derived from a request's stamps.

package llmeval

import (
	"fmt"
	"strconv"
	"time"
)

// int64s is a 64-bit integer written as a decimal string: JSON numbers lose nanoseconds since 1970 in JavaScript.
type int64s int64

func (i int64s) MarshalText() ([]byte, error) {
	return strconv.AppendInt(nil, int64(i), 10), nil
}

func (i *int64s) UnmarshalText(text []byte) error {
	value, err := strconv.ParseInt(string(text), 10, 64)
	*i = int64s(value)
	return err
}

func unixNs(at time.Time) *int64s {
	value := int64s(at.UnixNano())
	return &value
}

// Statuses of a request.
const (
	statusOK              = "ok"
	statusHTTPError       = "http_error"
	statusTimeout         = "timeout"
	statusConnectionError = "connection_error"
	statusStreamError     = "stream_error"
	statusParseError      = "parse_error"
	statusAborted         = "aborted"
)

// row is one line of requests.jsonl. Fields that end in Ns without Unix count from the send, on the monotonic clock;
// lagNs counts from the scheduled time to the send. README.md defines each of them.
type row struct {
	RequestID            string  `json:"requestId"`
	Cell                 string  `json:"cell"`
	Phase                string  `json:"phase"`
	ScheduledUnixNs      *int64s `json:"scheduledUnixNs"`
	SentUnixNs           *int64s `json:"sentUnixNs"`
	LagNs                *int64  `json:"lagNs"`
	ConnectNs            *int64  `json:"connectNs"`
	ConnectionReused     bool    `json:"connectionReused"`
	HeadersNs            *int64  `json:"headersNs"`
	FirstChunkNs         *int64  `json:"firstChunkNs"`
	FirstTokenNs         *int64  `json:"firstTokenNs"`
	LastTokenNs          *int64  `json:"lastTokenNs"`
	DoneNs               *int64  `json:"doneNs"`
	TTFTNs               *int64  `json:"ttftNs"`
	ITLNs                []int64 `json:"itlNs"`
	ChunkTokens          []int   `json:"chunkTokens"`
	E2ENs                *int64  `json:"e2eNs"`
	TPOTNs               *int64  `json:"tpotNs"`
	Status               string  `json:"status"`
	HTTPStatus           *int    `json:"httpStatus"`
	Error                *string `json:"error"`
	PromptTokens         *int    `json:"promptTokens"`
	OutputTokens         *int    `json:"outputTokens"`
	ExpectedPromptTokens *int    `json:"expectedPromptTokens"`
	ExpectedOutputTokens int     `json:"expectedOutputTokens"`
	FinishReason         *string `json:"finishReason"`
	Worker               *int    `json:"worker"`
	ResponseBytes        int     `json:"responseBytes"`
	Session              *string `json:"session"`
	Turn                 *int    `json:"turn"`

	// answer is the response's text.
	answer string
	// ended is the end of the request; zero where it was not sent.
	ended time.Time
	// ownLag is the part of the lag that this process caused, workerWait the part in which no worker was free.
	ownLag, workerWait time.Duration
}

// requestID is unique in an experiment. A session has the id of its first turn.
func requestID(experimentID string, request *scheduled) string {
	id := fmt.Sprintf("%s-%06d", experimentID, request.index)
	if request.turn > 1 {
		return fmt.Sprintf("%s-turn-%d", id, request.turn)
	}
	return id
}

// newRow returns the row of a request that has not been sent.
func newRow(spec *Spec, request *scheduled) *row {
	r := &row{
		RequestID:            requestID(spec.ExperimentID, request),
		Cell:                 request.cell.ID,
		Phase:                request.phase,
		ITLNs:                []int64{},
		ChunkTokens:          []int{},
		Status:               statusAborted,
		ExpectedPromptTokens: spec.expectedPromptTokens(request),
		ExpectedOutputTokens: request.outputTokens,
	}
	if request.turn > 0 {
		first := *request
		first.turn = 1
		session := requestID(spec.ExperimentID, &first)
		turn := request.turn
		r.Session, r.Turn = &session, &turn
	}
	return r
}

// take copies what the response says into the row and derives the metrics.
func (r *row) take(result outcome) {
	r.FirstChunkNs = nanoseconds(result.firstChunk)
	r.FirstTokenNs = nanoseconds(result.firstToken)
	r.LastTokenNs = nanoseconds(result.lastToken)
	if result.done != nil {
		r.DoneNs = nanoseconds(result.done)
	}
	for _, gap := range result.gaps {
		r.ITLNs = append(r.ITLNs, gap.Nanoseconds())
	}
	r.ChunkTokens = append(r.ChunkTokens, result.chunkTokens...)
	r.answer = string(result.answer)
	r.PromptTokens, r.OutputTokens, r.FinishReason = result.promptTokens, result.outputTokens, result.finishReason
	r.TTFTNs = r.FirstTokenNs
	r.E2ENs = r.DoneNs
	if r.FirstTokenNs != nil && r.OutputTokens != nil && *r.OutputTokens > 1 {
		value := (*r.LastTokenNs - *r.FirstTokenNs) / int64(*r.OutputTokens-1)
		r.TPOTNs = &value
	}
}

func (r *row) fail(status, problem string) {
	r.Status, r.Error = status, &problem
}

func nanoseconds(value *time.Duration) *int64 {
	if value == nil {
		return nil
	}
	result := value.Nanoseconds()
	return &result
}
