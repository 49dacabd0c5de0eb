"""The words of tests/peers/segment.cpp against jieba.cut(text, HMM=False) with the same list; see tests/jieba."""
import gzip
import logging
import math
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unicodedata

import jieba

# What jieba takes for a run: kana and the later extensions it leaves uncut. Words with letters in them (T恤) are
# one word of its lists and never one of ours.
IDEOGRAPHS = re.compile("[\u4e00-\u9fd5]+")


def normal(text):
    return unicodedata.normalize("NFKC", text).casefold()


def of_ideographs(words):
    return [word for word in words if IDEOGRAPHS.fullmatch(word)]


def compare(segment, dictionary, texts):
    """Texts that are cut differently, as (text, ours, theirs), the number of those where both cuts are as probable, which are not
    among them, and the processor times: ours to load and to cut, theirs to cut."""
    ours = subprocess.run([segment, dictionary], input="\n".join(texts) + "\n", text=True, capture_output=True)
    if ours.returncode != 0:
        sys.exit(ours.stderr.strip())
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as plain:  # jieba reads no gzip
        opener = gzip.open if str(dictionary).endswith(".gz") else open
        plain.write(opener(dictionary, "rt", encoding="utf-8").read())
        plain.flush()
        peer = jieba.Tokenizer(plain.name)
        peer.cache_file = pathlib.Path(plain.name).name + ".cache"
        peer.initialize()
    normalised = [normal(text) for text in texts]
    start = time.process_time()
    theirs = [list(peer.cut(text, HMM=False)) for text in normalised]
    took = time.process_time() - start
    pairs = [(text, of_ideographs(a.split(" ")), of_ideographs(b))
             for text, a, b in zip(texts, ours.stdout.split("\n"), theirs, strict=False)]
    different = [pair for pair in pairs if pair[1] != pair[2]]

    def score(words):
        return sum(math.log(peer.FREQ.get(word) or 1) - math.log(peer.total) for word in words)

    less = [pair for pair in different if abs(score(pair[1]) - score(pair[2])) > 1e-6]
    return less, len(different) - len(less), [*map(float, ours.stderr.split()), took]


def own_case(rng, folder):
    """A list over few ideographs, so that words overlap and frequencies tie, and texts of them among other things."""
    alphabet = rng.sample([chr(c) for c in range(0x4E00, 0x9FA6)], 12)
    words = {"".join(rng.choices(alphabet, k=rng.choice([1, 2, 2, 2, 3, 4]))) for _ in range(rng.randint(1, 120))}
    dictionary = folder / "words.txt"
    dictionary.write_text("".join(f"{word} {rng.choice([1, 2, 3, rng.randint(1, 10**6)])} n\n" for word in sorted(words)),
                          encoding="utf-8")
    others = ["iPhone", "2", "，", " ", "5.5", "の", "™", "ＡＢ", "\u3007"]
    return dictionary, ["".join(rng.choices(alphabet * 3 + others, k=rng.randint(1, 40))) for _ in range(40)]


def main(segment, dictionary=None, *files):
    jieba.setLogLevel(logging.WARNING)
    if dictionary is None:
        rng = random.Random(1)
        with tempfile.TemporaryDirectory() as folder:
            cases = [compare(segment, *own_case(rng, pathlib.Path(folder))) for _ in range(25)]
        different, ties, count = [text for case in cases for text in case[0]], sum(case[1] for case in cases), 25 * 40
        print(f"{count - ties - len(different)} of {count} texts are cut alike, {ties} as probably")
    else:
        texts = []
        for file in files:
            opener = gzip.open if file.endswith(".gz") else open
            texts += opener(file, "rt", encoding="utf-8").read().split("\n")
        characters = sum(map(len, texts))
        different, ties, (load, ours, theirs) = compare(segment, dictionary, texts)
        print(f"{len(texts) - ties - len(different)} of {len(texts)} texts are cut alike, {ties} as probably; the list was read "
              f"in {load:.3f} s; characters in a second: {characters / ours:.3g}, jieba {characters / theirs:.3g}")
    for text, ours, theirs in different[:20]:
        print(f"  {text}\n    ours   {' '.join(ours)}\n    theirs {' '.join(theirs)}")
    return 1 if different else 0


sys.exit(main(*sys.argv[1:]))
