// What runs in the browser: all checks, one after another. Bundled by esbuild, served by website.py.

import { grpcWebChecks } from "./grpcweb.js";
import { report, settings } from "./report.js";
import { readmeChecks } from "./readme.js";
import { restChecks } from "./rest.js";
import { strangersChecks } from "./stranger.js";

const found = await settings();
const checks = { ...restChecks(found), ...grpcWebChecks(found), ...readmeChecks(found) };
await report(found.allowed ? checks : strangersChecks(found));
