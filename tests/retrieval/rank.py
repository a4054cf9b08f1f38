"""Ranks the documents for every question with bm25s, and prints ten ids for each as JSON lines. Documents with one
score are in the order of their ids, as they are in `local`: which of them comes first must not be luck.

As the dataset `local`, it takes every run of letters and digits for a word (its own pattern passes over single ones),
leaves out English stop words, which it is told on its input, and word endings (Snowball's English stemmer). All else
is bm25s's default.
"""

import json
import sys
from pathlib import Path

import bm25s
import Stemmer

def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    folder = Path(sys.argv[1])
    documents, questions = read(folder / "documents.jsonl"), read(folder / "questions.jsonl")
    stemmer = Stemmer.Stemmer("english")
    stop_words = sys.stdin.read().split()

    def words(texts):
        return bm25s.tokenize(
            texts, token_pattern=r"(?u)\b\w+\b", stopwords=stop_words, stemmer=stemmer, show_progress=False
        )

    index = bm25s.BM25()
    index.index(words([document["text"] for document in documents]), show_progress=False)
    for question in questions:
        found, scores = index.retrieve(words([question["text"]]), k=len(documents), show_progress=False)
        matches = [(-score, documents[place]["id"]) for place, score in zip(found[0], scores[0]) if score > 0]
        print(json.dumps([name for _, name in sorted(matches)[:10]]))


main()
