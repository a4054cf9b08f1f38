"""Ranks the documents for every question with bm25s, and prints ten ids for each as JSON lines.

As the dataset `local`, it leaves out English stop words (the same 33) and word endings (Snowball's English stemmer).
All else is bm25s's default.
"""

import json
import sys
from pathlib import Path

import bm25s
import Stemmer

# tantivy's list, so that neither side gains by another.
STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
    "this to was will with"
).split()


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    folder = Path(sys.argv[1])
    documents, questions = read(folder / "documents.jsonl"), read(folder / "questions.jsonl")
    stemmer = Stemmer.Stemmer("english")

    def words(texts):
        return bm25s.tokenize(texts, stopwords=STOP_WORDS, stemmer=stemmer, show_progress=False)

    index = bm25s.BM25()
    index.index(words([document["text"] for document in documents]), show_progress=False)
    for question in questions:
        found, scores = index.retrieve(words([question["text"]]), k=10, show_progress=False)
        ids = [documents[place]["id"] for place, score in zip(found[0], scores[0]) if score > 0]
        print(json.dumps(ids))


main()
