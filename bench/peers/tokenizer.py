"""Makes a tokenizer for the peers that want one: a word is a token, one of the load generator's own or taken for "time".

    OUT=FOLDER python tokenizer.py WORDS

Any ids decode to a text that encodes to as many ids, whatever text a peer cuts its prompts from.
"""

import json
import os
import pathlib
import sys

from tokenizers import Tokenizer, models, pre_tokenizers

end = "<|end|>"
known = pathlib.Path(sys.argv[1]).read_text().split()
folder = pathlib.Path(os.environ["OUT"])
vocabulary = {word: index for index, word in enumerate([end, *known])}
# The word for all others is one of the list: an "unknown" token would not survive every peer's decoding.
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="time"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.add_special_tokens([end])
tokenizer.save(str(folder / "tokenizer.json"))
settings = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": end,
    "bos_token": end,
    "pad_token": end,
    "model_max_length": 32768,
    "clean_up_tokenization_spaces": False,
}
(folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
# Some tools look for a model's configuration beside it.
(folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "max_position_embeddings": 32768}))
