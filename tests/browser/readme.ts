// The checks of README's programs for browsers. They are files of their own, made from README's text.

import { matches } from "./report.js";
import type { Checks, Settings } from "./report.js";

const ANSWER = /^\s*Policies are ordered by their phase/;

export function readmeChecks({ key }: Settings): Checks {
  // They ask the person at the browser.
  window.prompt = () => key;
  return {
    "README: its program with fetch writes the answer into the page": () => run("./readme-fetch.js"),
    "README: its program with gRPC-Web writes the answer into the page": () => run("./readme-grpcweb.js"),
  };
}

/** Runs a program, which has ended once it is imported. */
async function run(program: string): Promise<void> {
  document.body.replaceChildren();
  await import(program);
  matches(document.body.textContent, ANSWER, "the page's text");
}
