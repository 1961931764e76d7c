// What a cluster's stack says about its parts.

import { expect, test } from "vitest";
import { addressOf } from "../../../components/cluster/capabilities.ts";

test("the address of a part in each mode", () => {
  const own = "http://loki.logging.svc:3100";
  expect(addressOf({ mode: "on" }, own)).toBe(own);
  expect(addressOf({ mode: "off" }, own)).toBeUndefined();
  expect(addressOf({ mode: "external", url: "https://logs.example.org/loki/" }, own)).toBe(
    "https://logs.example.org/loki",
  );
});
