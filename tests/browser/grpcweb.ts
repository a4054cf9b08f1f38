// The checks of gRPC-Web, with Connect's client and stubs that protoc-gen-es made.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { CallOptions, Client } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { EndpointService } from "./gen/syft/space/v1/endpoint_service_pb.js";
import { control, equal, matches, rejected } from "./report.js";
import type { Checks, Settings } from "./report.js";

type Service = Client<typeof EndpointService>;

export function grpcWebChecks({ server, key }: Settings): Checks {
  const service = connect(server);
  const by = (key: string, options: CallOptions = {}) => ({ headers: { authorization: `Bearer ${key}` }, ...options });

  return {
    async "gRPC-Web: a query gives references and text"() {
      const answer = await service.query(question("legal-qa", "What is the copyright term?"), by(key));
      equal(answer.references?.documents[0]?.documentId, "copyright", "document");
      matches(answer.summary?.content, /seventy years/, "text");
      equal(answer.policyMetadata?.outcome, "success", "outcome");
    },

    async "gRPC-Web: pieces arrive one by one, then one `completed`"() {
      let headerId: string | null = null;
      const onHeader = (headers: Headers) => (headerId = headers.get("x-query-id"));
      const pieces: string[] = [];
      const kinds: (string | undefined)[] = [];
      for await (const { event } of service.streamQuery(question("paced", "Count"), by(key, { onHeader }))) {
        kinds.push(event.case);
        if (event.case === "delta") {
          pieces.push(event.value.content);
          // Only now does the model write the next piece.
          await control("POST", "arrived");
        } else if (event.case === "completed") {
          equal(event.value.queryId, headerId, "x-query-id");
        }
      }
      equal(pieces, ["one ", "two ", "three"], "pieces");
      equal(kinds, ["delta", "delta", "delta", "completed"], "events");
    },

    async "gRPC-Web: a wrong key is UNAUTHENTICATED, with readable details"() {
      failedWith(await rejected(drain(service, "paced", by("wrong"))), Code.Unauthenticated, "UNAUTHENTICATED");
    },

    async "gRPC-Web: a missing endpoint is NOT_FOUND, with readable details"() {
      failedWith(await rejected(drain(service, "missing", by(key))), Code.NotFound, "ENDPOINT_NOT_FOUND");
    },

    async "gRPC-Web: an answer that fails half-way says so in its trailers"() {
      const pieces: string[] = [];
      const failure = await rejected(drain(service, "cut", by(key), pieces));
      equal(pieces, ["one "], "pieces");
      failedWith(failure, Code.Unavailable, "MODEL_UNAVAILABLE");
    },

    async "gRPC-Web: abort() stops the model"() {
      const abort = new AbortController();
      const endless = question("endless", "Go on", 1_000_000);
      const events = service.streamQuery(endless, by(key, { signal: abort.signal }))[Symbol.asyncIterator]();
      const first = await events.next();
      equal(first.value?.event.case, "delta", "first event");
      abort.abort();
      await control("GET", "hung-up");
    },
  };
}

export function connect(server: string): Service {
  return createClient(EndpointService, createGrpcWebTransport({ baseUrl: server, useBinaryFormat: true }));
}

export function question(slug: string, text: string, maxTokens?: number) {
  const messages = { case: "text", value: text } as const;
  return { slug, query: { messages, stopSequences: {}, ...(maxTokens && { maxTokens }) } };
}

/** Reads a stream to its end, and keeps its pieces. */
async function drain(service: Service, slug: string, options: CallOptions, pieces: string[] = []): Promise<void> {
  for await (const { event } of service.streamQuery(question(slug, "?"), options)) {
    if (event.case === "delta") {
      pieces.push(event.value.content);
      await control("POST", "arrived");
    }
  }
}

function failedWith(failure: unknown, code: Code, reason: string): void {
  if (!(failure instanceof ConnectError)) {
    throw failure;
  }
  equal(Code[failure.code], Code[code], failure.message);
  const found = failure.details.find((detail) => "type" in detail && detail.type === "google.rpc.ErrorInfo");
  if (!found || !("value" in found && found.value instanceof Uint8Array)) {
    throw new Error(`there is no ErrorInfo in ${JSON.stringify(failure.details)}`);
  }
  // Its fields are strings, so this needs no stub of google.rpc's.
  matches(new TextDecoder().decode(found.value), new RegExp(`${reason}.*space\\.syft`, "s"), "ErrorInfo");
}
