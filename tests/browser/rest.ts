// The checks of REST and of server-sent events: `fetch` and nothing else.

import { control, equal, matches, rejected } from "./report.js";
import type { Checks, Settings } from "./report.js";

/** A line of an answer. The last two have other keys, or are no JSON. */
type Line = { content?: string; [key: string]: unknown };

export function restChecks({ server, key }: Settings): Checks {
  const ask = (slug: string, question: object, by = key, signal?: AbortSignal) =>
    fetch(`${server}/api/v1/endpoints/${slug}/query`, {
      method: "POST",
      headers: { authorization: `Bearer ${by}`, "content-type": "application/json" },
      body: JSON.stringify({ stop_sequences: [], ...question }),
      ...(signal && { signal }),
    });

  return {
    async "REST: a query gives references and text"() {
      const answer = await ask("legal-qa", { messages: "What is the copyright term?" });
      equal(answer.status, 200, "status");
      const { references, summary, policy_metadata } = await answer.json();
      equal(references.documents[0].document_id, "copyright", "document");
      equal(references.documents[0].metadata, { kind: "law" }, "metadata");
      matches(summary.message.content, /seventy years/, "text");
      equal(policy_metadata.outcome, "success", "outcome");
    },

    async "REST: a wrong key is a readable 401"() {
      const answer = await ask("legal-qa", { messages: "?" }, "wrong");
      equal([answer.status, typeof (await answer.json()).detail], [401, "string"], "answer");
    },

    async "REST: an invalid query is a readable 422, with every violation"() {
      const answer = await ask("legal-qa", { messages: "?", limit: 0, temperature: 9 });
      const { detail } = await answer.json();
      const fields = detail.map(({ loc }: { loc: string[] }) => loc.join("."));
      equal([answer.status, fields.sort()], [422, ["body.limit", "body.temperature"]], "answer");
    },

    async "SSE: pieces arrive one by one, then what is known at the end, then [DONE]"() {
      const answer = await ask("paced", { messages: "Count", stream: true });
      matches(answer.headers.get("content-type"), /^text\/event-stream/, "content type");
      const pieces: string[] = [];
      const others: string[] = [];
      for await (const data of events(answer)) {
        const content = contentOf(data);
        if (content === undefined) {
          others.push(data);
        } else {
          pieces.push(content);
          // Only now does the model write the next piece.
          await control("POST", "arrived");
        }
      }
      equal(pieces, ["one ", "two ", "three"], "pieces");
      const [last, done, ...more] = others;
      equal([done, more], ["[DONE]", []], "end");
      const { references, finish_reason, policy_metadata } = JSON.parse(last ?? "");
      equal([references, finish_reason, policy_metadata.outcome], [null, "stop", "success"], "what is known");
    },

    async "SSE: references come with what is known at the end"() {
      const answer = await ask("legal-qa", { messages: "What is the copyright term?", stream: true });
      const datas: string[] = [];
      for await (const data of events(answer)) {
        datas.push(data);
      }
      matches(datas.map((data) => contentOf(data) ?? "").join(""), /seventy years/, "text");
      const { references, usage } = JSON.parse(datas.at(-2) ?? "");
      equal(references.documents[0].document_id, "copyright", "document");
      equal(Object.keys(usage), ["prompt_tokens", "completion_tokens", "total_tokens"], "usage");
    },

    async "SSE: a wrong key is a readable 401"() {
      const answer = await ask("paced", { messages: "?", stream: true }, "wrong");
      equal([answer.status, typeof (await answer.json()).detail], [401, "string"], "answer");
    },

    async "SSE: a missing endpoint is a readable 404"() {
      const answer = await ask("missing", { messages: "?", stream: true });
      equal([answer.status, (await answer.json()).detail], [404, "Endpoint 'missing' not found"], "answer");
    },

    async "SSE: an answer that fails half-way is no complete one"() {
      const answer = await ask("cut", { messages: "?", stream: true });
      const datas: string[] = [];
      const failure = await rejected(
        (async () => {
          for await (const data of events(answer)) {
            datas.push(data);
            await control("POST", "arrived");
          }
        })(),
      );
      equal(contentOf(datas[0] ?? ""), "one ", "first piece");
      equal(datas.includes("[DONE]"), false, "end");
      equal(failure instanceof TypeError, true, `${failure} as network error`);
    },

    async "SSE: abort() stops the model"() {
      const abort = new AbortController();
      const question = { messages: "Go on", stream: true, max_tokens: 1_000_000 };
      const answer = await ask("endless", question, key, abort.signal);
      const failure = await rejected(
        (async () => {
          for await (const data of events(answer)) {
            equal(contentOf(data), "on ", "piece");
            abort.abort();
          }
        })(),
      );
      equal((failure as Error).name, "AbortError", "failure");
      await control("GET", "hung-up");
    },
  };
}

/** The data of each event of an answer. Comments are skipped. */
async function* events(answer: Response): AsyncGenerator<string> {
  equal(answer.status, 200, "status");
  let text = "";
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop() ?? "";
    for (const line of blocks.flatMap((block) => block.split("\n"))) {
      if (line.startsWith("data: ")) {
        yield line.slice("data: ".length);
      }
    }
  }
  equal(text, "", "after the last event");
}

function contentOf(data: string): string | undefined {
  return data === "[DONE]" ? undefined : (JSON.parse(data) as Line).content;
}
