#!/usr/bin/env bash
# Guess: what stands after the script's name belongs to the script, as torchrun's own usage says
# ("training_script ..."): `torchrun train.py --num 5` hands --num 5 on, in any position.
# Seen: torch 2.13.0 under Python 3.11: an option of the script that begins two of torchrun's own
# (--num: --numa-binding and --numa_binding; --node, --log, --max, --nproc, --master) ends the launch with
# "ambiguous option"; one that begins a single option (--stand) or is one (--role) is handed on. Every option
# of torchrun has two spellings since it may be written with underscores, so each beginning is ambiguous.
# `torchrun -m -- module --num 5` is the way round. Each new option of torchrun takes words from all scripts.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
echo 'import sys; print("ARGV", sys.argv[1:])' > script.py
version=$(venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for words in "--num 5" "data --num 5" "data --node 5" "data --log x" "data --max 3"; do
    if said=$(venv/bin/torchrun --nproc-per-node=1 script.py $words 2>&1); then
        echo "torchrun script.py $words: handed on (Python $version)"
        [ "$version" != 3.11 ] || { echo "the behaviour has changed" >&2; exit 1; }
    else
        echo "torchrun script.py $words: ${said##*torchrun: }"
        grep -q "ambiguous option" <<<"$said" || { echo "the behaviour has changed" >&2; exit 1; }
    fi
done
for words in "data --stand" "data --role x"; do
    venv/bin/torchrun --nproc-per-node=1 script.py $words 2>&1 | tail -1 | tee said.txt
    grep -q -- "${words#data }" <(tr -d "[],'" < said.txt) || { echo "the behaviour has changed" >&2; exit 1; }
done
venv/bin/torchrun --nproc-per-node=1 -m -- script --num 5 2>&1 | tail -1 | grep -- "--num"
