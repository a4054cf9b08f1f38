// Uses a server as a TypeScript program would: over the network, with stubs that ts-proto made.
// Run by ../space.py, which says what is in the environment.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import * as grpc from "@grpc/grpc-js";

import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import { EndpointServiceClient, QueryRequest, StreamQueryRequest } from "./gen/syft/space/v1/endpoint_service.js";
import type { QueryResponse, StreamQueryResponse } from "./gen/syft/space/v1/endpoint_service.js";
import type { Query } from "./gen/syft/space/v1/query.js";

const CALL_MS = 30_000;

/** A question, with what else is said of it. */
type Question = { text: string } & Partial<Omit<Query, "messages">>;

const address = variable("ADDRESS");
const key = variable("KEY");
const upstream = variable("UPSTREAM");
const serviceConfig = readFileSync(variable("SERVICE_CONFIG"), "utf8");

const client = connect({ "grpc.service_config": serviceConfig });

const checks: Record<string, () => Promise<void>> = {
  async "a unary query gives references and text"() {
    const answer = await query("legal-qa", { text: "What is the copyright term?", stopSequences: { values: [] } });
    const [reference] = answer.references?.documents ?? [];
    assert.equal(reference?.documentId, "copyright");
    assert.deepEqual(reference?.metadata, { kind: "law" });
    assert.match(answer.summary?.content ?? "", /seventy years/);
    assert.equal(answer.policyMetadata?.outcome, "success");
  },

  async "deltas arrive one by one, then one `completed`"() {
    const deltas: string[] = [];
    const kinds: string[] = [];
    for await (const { event } of stream("paced", { text: "Count" })) {
      assert(event);
      kinds.push(event.$case);
      if (event.$case === "delta") {
        deltas.push(event.value.content);
        // Only now does the model write the next piece.
        await control("POST", "/arrived");
      } else if (event.$case === "completed") {
        assert.notEqual(event.value.queryId, "");
      }
    }
    assert.deepEqual(deltas, ["one ", "two ", "three"]);
    assert.deepEqual(kinds, ["delta", "delta", "delta", "completed"]);
  },

  async "a cancelled stream stops the model"() {
    const call = stream("endless", { text: "Go on", maxTokens: 1_000_000 });
    const events = call[Symbol.asyncIterator]();
    const first: IteratorResult<StreamQueryResponse> = await events.next();
    assert.equal(first.value?.event?.$case, "delta");
    call.cancel();
    await control("GET", "/hung-up");
    await assert.rejects(drain(events), { code: grpc.status.CANCELLED });
  },

  async "a wrong slug is NOT_FOUND"() {
    await failsWith(query("wrong", { text: "?" }), grpc.status.NOT_FOUND, "ENDPOINT_NOT_FOUND");
  },

  async "a missing key is UNAUTHENTICATED"() {
    const call = query("legal-qa", { text: "?" }, client, new grpc.Metadata());
    await failsWith(call, grpc.status.UNAUTHENTICATED, "UNAUTHENTICATED");
  },

  async "every invalid field is named"() {
    const call = query("legal-qa", { text: "?", limit: 0, temperature: 9 });
    const details = await failsWith(call, grpc.status.INVALID_ARGUMENT, "INVALID_REQUEST");
    const violations = BadRequest.decode(detail(details, "google.rpc.BadRequest")).fieldViolations;
    assert.deepEqual(violations.map(({ field }) => field).sort(), ["query.limit", "query.temperature"]);
  },

  async "the service config has UNAVAILABLE repeated"() {
    const once = connect({ "grpc.enable_retries": 0 });
    await failsWith(query("flaky", { text: "Once?" }, once), grpc.status.UNAVAILABLE, "MODEL_UNAVAILABLE");
    once.close();

    const answer = await query("flaky", { text: "Unary?" });
    assert.equal(answer.summary?.content, "again");
    const kinds: (string | undefined)[] = [];
    for await (const { event } of stream("flaky", { text: "Streamed?" })) {
      kinds.push(event?.$case);
    }
    assert.deepEqual(kinds, ["delta", "completed"]);
  },
};

function connect(options: grpc.ClientOptions): EndpointServiceClient {
  return new EndpointServiceClient(address, grpc.credentials.createInsecure(), options);
}

function request(slug: string, { text, ...options }: Question) {
  // A call that gRPC repeats keeps its id.
  return { slug, requestId: randomUUID(), query: { messages: { $case: "text", value: text } as const, ...options } };
}

function query(slug: string, question: Question, by = client, metadata = authorized()): Promise<QueryResponse> {
  return new Promise((resolve, reject) => {
    by.query(QueryRequest.fromPartial(request(slug, question)), metadata, deadline(), (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

function stream(slug: string, question: Question): grpc.ClientReadableStream<StreamQueryResponse> {
  return client.streamQuery(StreamQueryRequest.fromPartial(request(slug, question)), authorized(), deadline());
}

function authorized(): grpc.Metadata {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return metadata;
}

function deadline(): grpc.CallOptions {
  return { deadline: Date.now() + CALL_MS };
}

async function drain(events: AsyncIterator<unknown>): Promise<void> {
  while (!(await events.next()).done);
}

/** Expects a call to fail so, and returns the details of its status. */
async function failsWith(call: Promise<unknown>, code: grpc.status, reason: string): Promise<Status> {
  const error: grpc.ServiceError = await call.then(
    () => assert.fail(`no ${grpc.status[code]} came`),
    (error) => error,
  );
  assert.equal(error.code, code, error.message);
  const [packed] = error.metadata.get("grpc-status-details-bin");
  assert(packed instanceof Buffer, "the status has no details");
  const status = Status.decode(packed);
  assert.equal(status.code, code);
  const info = ErrorInfo.decode(detail(status, "google.rpc.ErrorInfo"));
  assert.deepEqual([info.reason, info.domain], [reason, "space.syft"]);
  return status;
}

function detail(status: Status, type: string): Uint8Array {
  const found = status.details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/${type}`);
  assert(found, `the status has no ${type}`);
  return found.value;
}

/** Talks with the scripted model server. */
async function control(method: string, path: string): Promise<void> {
  const answer = await fetch(upstream + path, { method, signal: AbortSignal.timeout(CALL_MS) });
  assert.equal(answer.status, 204, `${method} ${path} of the model server`);
}

function variable(name: string): string {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n`, error);
  }
}
client.close();
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
