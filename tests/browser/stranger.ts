// The checks of a page whose origin the server does not list. The browser keeps every answer from it.

import { Code, ConnectError } from "@connectrpc/connect";

import { connect, question } from "./grpcweb.js";
import { equal, rejected } from "./report.js";
import type { Checks, Settings } from "./report.js";

export function strangersChecks({ server, key }: Settings): Checks {
  const authorization = `Bearer ${key}`;
  return {
    async "another origin: the server is there"() {
      // Such an answer can be had, but not be read.
      const answer = await fetch(`${server}/openapi.json`, { mode: "no-cors" });
      equal([answer.type, answer.status], ["opaque", 0], "answer");
    },

    async "another origin: what needs no leave is not readable"() {
      await refused(fetch(`${server}/openapi.json`));
    },

    async "another origin: REST is refused"() {
      const url = `${server}/api/v1/endpoints/legal-qa/query`;
      const headers = { authorization, "content-type": "application/json" };
      await refused(fetch(url, { method: "POST", headers, body: '{"messages": "?"}' }));
    },

    async "another origin: gRPC-Web is refused"() {
      const failure = await rejected(connect(server).query(question("legal-qa", "?"), { headers: { authorization } }));
      if (!(failure instanceof ConnectError)) {
        throw failure;
      }
      equal([Code[failure.code], failure.rawMessage], ["Unknown", "Failed to fetch"], "failure");
    },
  };
}

/** Chromium does not tell the page more than this. */
async function refused(answer: Promise<Response>): Promise<void> {
  const failure = await rejected(answer);
  equal(String(failure), "TypeError: Failed to fetch", "failure");
}
