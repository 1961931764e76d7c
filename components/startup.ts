// Makes every preview cheaper: a third of the program's CPU time would go into two habits of Pulumi's SDK that are of no
// use here. Imported by index.ts before the SDK.

import Module, { createRequire } from "node:module";

/** Loaded by the SDK at its start (more than 500 files), called by this program never. */
const postponed = [
  "@npmcli/arborist", // packs up functions for dynamic providers
  "normalize-package-data", // the same
  "fdir", // the same
  "@pulumi/pulumi/automation", // drives the CLI from a program
  "@pulumi/pulumi/provider", // serves a provider written in TypeScript
];

// The SDK's packages are found from the SDK, wherever npm has put them.
const requireFromSdk = createRequire(createRequire(import.meta.url).resolve("@pulumi/pulumi"));

for (const name of postponed) postpone(name);

// Pulumi maps each stack trace back to TypeScript, several for each resource, by the SDK's source maps. Node runs our
// TypeScript as it is written, so that our lines are right without; the SDK's own frames then name its .js files.
Reflect.deleteProperty(Error, "prepareStackTrace");

/** Puts a stand-in into the place of a CommonJS module, which loads the real one when something of it is first used. */
function postpone(name: string): void {
  const file = requireFromSdk.resolve(name);
  if (requireFromSdk.cache[file] !== undefined) return;
  const standIn = new Module(file);
  standIn.loaded = true;
  standIn.exports = new Proxy(
    {},
    {
      get(_, key) {
        // With this mark, the compiled imports of the SDK keep the stand-in instead of copying all of its properties.
        if (key === "__esModule") return true;
        if (requireFromSdk.cache[file] === standIn) delete requireFromSdk.cache[file];
        const real = requireFromSdk(file);
        return key === "default" && !real.__esModule ? real : real[key];
      },
    },
  );
  requireFromSdk.cache[file] = standIn;
}
