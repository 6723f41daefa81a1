#!/usr/bin/env bash
# Guess: characters that are given as initial_alphabet are kept: they are "to include, even if not seen in the
# training dataset", and limit_alphabet keeps the most frequent of those that are seen.
# Seen: tokenizers 0.23.3: with both, limit_alphabet=50 keeps 50 of all together, so that 206 of the 256 letters of
# a byte-level vocabulary go, without a word, and with them some that the training text has; which ones differs
# from one training to the next. Text in lost letters is encoded without them and comes back shorter ("zebra
# house" as "er houe", as "r"), since a model of bytes has no unknown token. Trainer, file and `encode` are silent.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet tokenizers==0.23.3 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
"$room/venv/bin/python" - <<'PYTHON'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def learned(**how: object) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False, initial_alphabet=BYTES, **how)
    made.train_from_iterator(["red house"] * 9, trainer)
    return made


def kept(made: Tokenizer) -> frozenset[str]:
    return frozenset(one for one in BYTES if one in made.get_vocab())


text = "zebra house"
whole, cut = learned(), [learned(limit_alphabet=50) for _ in range(8)]
back = [made.decode(made.encode(text).ids).strip() for made in (whole, *cut)]
print("letters of 256 that are kept:", len(kept(whole)), "without a limit,", *{len(kept(one)) for one in cut})
print("what comes back of", repr(text), "is", *map(repr, back))
assert len(kept(whole)) == 256 and back[0] == text, "without a limit all is there"
assert {len(kept(one)) for one in cut} == {50} and text not in back[1:], "the behaviour has changed"
assert len({kept(one) for one in cut}) > 1, "the same letters are kept each time"
PYTHON
