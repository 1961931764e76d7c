module llmeval/bench/peers/stub

go 1.26
